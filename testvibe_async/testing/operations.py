"""The service's operations, one function each, under the service's own names, with their routes.

Each reads a call, which looks up what its path, query and body name and refuses what is invalid,
lets the service act, and makes the answer. None holds state. A raw path is split at its slashes
before it is decoded, because a feature's name is one percent-encoded segment that may hold a slash
or be `..`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs

from .answers import OK, Answer, Refusal, json_answer, json_object
from .files import configs, files, write
from .project import Feature, Project, as_number
from .service import Service, artifact_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .generation import Generation
    from .run import Run

_BUSY = "This feature is generating: wait for that, or cancel it."
_DEFAULT_LIMIT = 50
"""Maximum rows of a list of runs if the query has no `limit`."""

OPERATIONS: dict[str, Callable[[Call], Answer]] = {}
"""All operations, by the service's own names."""

TAKES: dict[str, tuple[str, ...]] = {}
"""The names that the query of a GET, or the body of any other operation, may have."""

_ROUTES: dict[re.Pattern[str], dict[str, str]] = {}
"""The operations, by their paths and methods."""


def _operation(
    method: str, path: str, *, takes: tuple[str, ...] = ()
) -> Callable[[Callable[[Call], Answer]], Callable[[Call], Answer]]:
    """Register a function as an operation."""
    pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]*)", f"/api/v1/ops{path}"))

    def register(act: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        OPERATIONS[act.__name__] = act
        TAKES[act.__name__] = takes
        _ROUTES.setdefault(pattern, {})[method] = act.__name__
        return act

    return register


@attrs.frozen
class Route:
    """The operation of a request, and the names in its path."""

    operation: str | None
    """The operation; None if the path exists, but not with this method."""
    allowed: tuple[str, ...]
    """The methods of the path."""
    names: Mapping[str, str]
    """The decoded `project`, `feature` and `run` of the path, as far as it has them."""


@lru_cache(maxsize=1024)  # polls ask for the same few paths
def find_route(method: str, path: str) -> Route | None:
    """Find the route of a request.

    Args:
        method: The HTTP method, in capitals.
        path: The raw path, without its query.

    Returns:
        The route; None if no operation has such a path.
    """
    for pattern, methods in _ROUTES.items():
        if (found := pattern.fullmatch(path)) is not None:
            names = {name: unquote(segment) for name, segment in found.groupdict().items()}
            return Route(methods.get(method), tuple(methods), names)
    return None


@attrs.frozen
class Call:
    """One request, as the operations see it; to look up what it names may raise a 404."""

    service: Service
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    now: float

    @property
    def project(self) -> Project:
        """The project that the path names."""
        project = self.service.find_project(self.names["project"])
        if project is None:
            raise Refusal(404, f"No project has the id {self.names['project']!r}.")
        return project

    @property
    def feature(self) -> Feature:
        """The feature that the path names."""
        return self.find_feature(self.names["feature"])

    @property
    def run(self) -> Run:
        """The run that the path names."""
        project, run = self.project, self.service.find_run(self.names["run"])
        if run is None or run.project is not project or self._lags(run.created_at):
            raise Refusal(404, f"This project has no run {self.names['run']!r}.")
        return run

    @property
    def generation(self) -> Generation | None:
        """The latest generation of the feature; None if it was never generated."""
        generation = self.service.latest_generation(self.project, self.feature)
        if generation is not None and self._lags(generation.created_at):
            raise Refusal(404, "This generation is not known yet.")
        return generation

    @property
    def limit(self) -> int:
        """The largest number of rows to list."""
        text = self.query.get("limit")
        limit = _DEFAULT_LIMIT if text is None else as_number(text)
        if not limit:
            says = f"must be a whole number above 0, not {text!r}"
            raise Refusal(400, f"The query parameter 'limit' {says}.")
        return limit

    def text(self, field: str) -> str | None:
        """Return an optional text of the body; null counts as absent."""
        value = json_object(self.body).get(field)
        if value is not None and not isinstance(value, str):
            raise Refusal(400, f"The field {field!r} must be a string.")
        if field == "name" and value is not None:
            is_unicode = value.encode("utf-8", "replace").decode() == value
            if not (is_unicode and value.strip()):
                raise Refusal(400, "The field 'name' must not be empty, nor hold half a character.")
        return value

    def required_text(self, field: str) -> str:
        """Return a text that must not be absent."""
        value = self.text(field)
        if value is None:
            raise Refusal(400, f"The field {field!r} is required.")
        return value

    def _lags(self, created_at: float) -> bool:
        return self.now < created_at + self.service.dispatch_lag

    def find_feature(self, key: str) -> Feature:
        """Return the feature of a name or an id."""
        feature = self.project.find(key)
        if feature is None:
            raise Refusal(404, f"This project has no feature {key!r}.")
        return feature


@_operation("GET", "/projects")
def list_projects(call: Call) -> Answer:
    """List the projects of the key's workspace."""
    return json_answer([project.document() for project in call.service.projects.values()])


@_operation("GET", "/projects/{project}")
def get_project(call: Call) -> Answer:
    """Show one project."""
    return json_answer(call.project.document())


@_operation("GET", "/projects/{project}/features")
def list_features(call: Call) -> Answer:
    """List a project's features, without their Gherkin."""
    return json_answer([feature.row() for feature in call.project.all_features()])


@_operation("GET", "/projects/{project}/features/{feature}")
def get_feature(call: Call) -> Answer:
    """Show one feature in full."""
    return json_answer(call.feature.document())


@_operation("POST", "/projects/{project}/features", takes=("name", "gherkin"))
def create_feature(call: Call) -> Answer:
    """Create a feature; it is not generated yet."""
    project, name = call.project, call.required_text("name")
    gherkin = call.required_text("gherkin")
    feature = call.service.add_feature(project, name=name, gherkin=gherkin)
    return json_answer(feature.document(), 201)


@_operation("PATCH", "/projects/{project}/features/{feature}", takes=("name", "gherkin"))
def update_feature(call: Call) -> Answer:
    """Change a feature's text or name; its generated tests stay as they are."""
    feature, name, gherkin = call.feature, call.text("name"), call.text("gherkin")
    if name is None and gherkin is None:
        raise Refusal(400, "One of the fields 'gherkin' and 'name' is required.")
    feature.require_idle(_BUSY)
    if name is not None:
        call.project.rename(feature, name)
    feature.gherkin = feature.gherkin if gherkin is None else gherkin
    feature.updated_at = call.now
    return OK


@_operation("DELETE", "/projects/{project}/features/{feature}")
def delete_feature(call: Call) -> Answer:
    """Delete a feature; its runs can still be read."""
    call.feature.require_idle(_BUSY)
    call.project.remove(call.feature)
    return OK


@_operation("POST", "/projects/{project}/features/{feature}/generate", takes=("siteUrl",))
def generate_feature(call: Call) -> Answer:
    """Dispatch a generation."""
    feature, site_url = call.feature, call.text("siteUrl") or call.project.base_url
    generation = call.service.dispatch_generation(feature, site_url)
    return json_answer({"requestId": generation.request_id, "featureId": feature.id}, 202)


@_operation("GET", "/projects/{project}/features/{feature}/generation")
def get_generation_status(call: Call) -> Answer:
    """Show the progress of a feature's latest generation."""
    feature, generation = call.feature, call.generation
    head = _generation_head(feature) | {"featureStatus": feature.status}
    # Assumed: a feature that was never generated has these three fields and no others.
    return json_answer(head | generation.progress(call.now) if generation else head)


@_operation("GET", "/projects/{project}/features/{feature}/generation/log")
def get_generation_log(call: Call) -> Answer:
    """Show the log of a feature's latest generation."""
    feature, generation = call.feature, call.generation
    return json_answer(
        {
            **_generation_head(feature),
            "requestId": generation and generation.request_id,
            "sections": generation.log(call.now) if generation else [],
        }
    )


@_operation("POST", "/projects/{project}/features/{feature}/generation/cancel")
def cancel_generation(call: Call) -> Answer:
    """Cancel the generation in flight."""
    call.service.cancel_generation(call.feature)
    return OK


@_operation("POST", "/projects/{project}/features/{feature}/run", takes=("config", "siteUrl"))
def run_feature(call: Call) -> Answer:
    """Dispatch a run."""
    project, feature = call.project, call.feature
    run = call.service.dispatch_run(
        project,
        feature,
        config=call.text("config") or "Default",
        site_url=call.text("siteUrl") or project.base_url,
    )
    return json_answer({"runId": run.id, "featureId": feature.id}, 202)


@_operation("GET", "/projects/{project}/runs", takes=("feature", "limit"))
def list_runs(call: Call) -> Answer:
    """List the latest runs of the project, or of one feature; the newest first."""
    owner = call.find_feature(call.query["feature"]) if "feature" in call.query else call.project
    newest_first = reversed(call.service.runs.values())
    runs = (run for run in newest_first if owner in {run.project, run.feature})
    rows = (run.row(call.now) for run in islice(runs, call.limit))
    return Answer(200, b"[" + b",".join(rows) + b"]")


@_operation("GET", "/projects/{project}/runs/{run}")
def get_run(call: Call) -> Answer:
    """Show one run's digest."""
    return Answer(200, call.run.digest(call.now))


@_operation("GET", "/projects/{project}/runs/{run}/diagnosis")
def diagnose_run(call: Call) -> Answer:
    """Show the diagnosis of a run: failures, sources, log and artifacts."""
    return json_answer(call.run.diagnosis(call.now) | {"artifacts": _linked_artifacts(call)})


@_operation("GET", "/projects/{project}/runs/{run}/artifacts")
def get_run_artifacts(call: Call) -> Answer:
    """List the files of a run, with links that soon expire."""
    return json_answer(_linked_artifacts(call))


@_operation("GET", "/projects/{project}/files")
def list_files(call: Call) -> Answer:
    """List a project's files."""
    return json_answer([file.row() for file in files(call.project)])


@_operation("GET", "/projects/{project}/files/content", takes=("path",))
def read_file(call: Call) -> Answer:
    """Show one file."""
    project, path = call.project, call.query.get("path")
    if not path:
        raise Refusal(400, "The query parameter 'path' is required.")
    file = next((each for each in files(project) if each.path == path), None)
    if file is None:
        raise Refusal(404, f"This project has no file {path!r}.")
    return json_answer(file.document())


@_operation("PUT", "/projects/{project}/files/content", takes=("path", "content"))
def write_file(call: Call) -> Answer:
    """Store a file's new content."""
    write(call.project, call.required_text("path"), call.required_text("content"))
    return OK


@_operation("GET", "/projects/{project}/configs")
def list_configs(call: Call) -> Answer:
    """List the configurations that a run can name."""
    return json_answer(configs(call.project))


def _generation_head(feature: Feature) -> dict[str, object]:
    return {"featureId": feature.id, "featureName": feature.name}


def _linked_artifacts(call: Call) -> list[dict[str, object]]:
    run, make = call.run, call.service.links.make
    return [
        file.document() | {"url": make(artifact_path(run.id, file.path))}
        for file in run.artifacts(call.now)
    ]
