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
    const noun = byId("count").dataset.noun;
    const total = `${all.toLocaleString("en")} ${all === 1 ? noun.replace(/s\b/g, "") : noun}`;
    byId("count").textContent = shown === all ? total : `${shown.toLocaleString("en")} of ${total}`;
  }

  // Filters stand in the address, so that a link shows what its sender saw. The part after the
  // number sign is the only one that a page from a disk may change.
  function remember() {
    const filters = new URLSearchParams();
    for (const button of verdicts.filter(isPressed)) filters.append("status", button.dataset.verdict);
    if (config?.value) filters.set("config", config.value);
    if (search.value) filters.set("search", search.value);
    history.replaceState(null, "", `#${filters}`);
  }

  function filter() {
    show();
    remember();
  }

  function recall() {
    const filters = new URLSearchParams(location.hash.slice(1));
    for (const button of verdicts) {
      const isMeant = filters.getAll("status").includes(button.dataset.verdict);
      button.setAttribute("aria-pressed", String(isMeant));
    }
    search.value = filters.get("search") ?? "";
    if (config) config.value = filters.get("config") ?? "";
    if (config && config.selectedIndex < 0) config.value = "";
    show();
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
    if (location.hash.includes("=")) return recall();
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
      filter();
    });
  }
  search.addEventListener("input", filter);
  config?.addEventListener("change", filter);
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
