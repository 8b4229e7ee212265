"use strict";
{
  const find = (selector) => [...document.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const operations = find(".operation");
  const verdicts = find(".verdict");
  const bars = find(".timeline g");
  const search = byId("search");
  const config = byId("config");
  let texts = null; // made by the first search: thousands of operations make it long

  function matcher() {
    const pressed = new Set(verdicts.filter(isPressed).map((button) => button.dataset.verdict));
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !texts) texts = operations.map((o) => o.textContent.toLowerCase());
    return (operation, place) =>
      (!pressed.size ||
        pressed.has(operation.dataset.verdict) ||
        (pressed.has("flaky") && "flaky" in operation.dataset)) &&
      (!config?.value || operation.dataset.config === config.value) &&
      words.every((word) => texts[place].includes(word));
  }

  function isPressed(button) {
    return button.getAttribute("aria-pressed") === "true";
  }

  function show() {
    const matches = matcher();
    const numbers = new Set();
    operations.forEach((operation, place) => {
      operation.hidden = !matches(operation, place);
      if (!operation.hidden) numbers.add(operation.dataset.number);
    });
    for (const bar of bars) bar.classList.toggle("dim", !numbers.has(bar.dataset.number));
    const shown = numbers.size;
    const all = operations.length;
    const total = `${all.toLocaleString("en")} ${all === 1 ? "operation" : "operations"}`;
    byId("count").textContent = shown === all ? total : `${shown.toLocaleString("en")} of ${total}`;
  }

  function showAll() {
    verdicts.forEach((button) => button.setAttribute("aria-pressed", "false"));
    search.value = "";
    if (config) config.value = "";
    show();
  }

  function fold(isOpen) {
    for (const operation of operations) if (!operation.hidden) operation.open = isOpen;
  }

  function follow() {
    const operation = byId(location.hash.slice(1));
    if (!operation?.classList.contains("operation")) return;
    if (operation.hidden) showAll();
    operation.open = true;
    operation.scrollIntoView();
    operation.querySelector("summary").focus();
  }

  for (const button of verdicts) {
    button.disabled = false;
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(!isPressed(button)));
      show();
    });
  }
  search.addEventListener("input", show);
  config?.addEventListener("change", show);
  byId("unfold").addEventListener("click", () => fold(true));
  byId("fold").addEventListener("click", () => fold(false));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").hidden = false;
  for (const bar of bars) {
    bar.addEventListener("click", () => {
      location.hash = `operation-${bar.dataset.number}`;
    });
  }
  document.querySelector(".timeline")?.classList.add("live");
  addEventListener("hashchange", follow);
  show();
  follow();
}
