"""The service's operations, one function each, under the service's own names.

Each reads a call, lets the service act, and makes the answer. None holds state.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from .answers import OK, Answer, invalid_request, json_answer, not_found
from .files import configs, files, find_file, write
from .links import artifact_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .call import Call
    from .feature import Feature

__all__ = ["OPERATIONS"]


def list_projects(call: Call) -> Answer:
    """List the projects of the key's workspace."""
    return json_answer([project.document() for project in call.service.projects.values()])


def get_project(call: Call) -> Answer:
    """Show one project."""
    return json_answer(call.project.document())


def list_features(call: Call) -> Answer:
    """List a project's features, without their Gherkin."""
    features = list(call.project.features.values())
    for feature in features:
        feature.reconcile(call.now)
    return json_answer([feature.row() for feature in features])


def get_feature(call: Call) -> Answer:
    """Show one feature in full."""
    return json_answer(call.feature.document())


def create_feature(call: Call) -> Answer:
    """Create a feature; it is not generated yet."""
    project, fields = call.project, call.fields()
    name, gherkin = fields.required("name"), fields.required("gherkin")
    feature = call.service.add_feature(project, name, gherkin)
    return json_answer(feature.document(), 201)


def update_feature(call: Call) -> Answer:
    """Change a feature's text or name; nothing is generated."""
    project, feature, fields = call.project, call.feature, call.fields()
    name, gherkin = fields.name(), fields.text("gherkin")
    if name is None and gherkin is None:
        raise invalid_request("One of the fields 'gherkin' and 'name' is required.")
    call.service.update_feature(project, feature, name=name, gherkin=gherkin)
    return OK


def delete_feature(call: Call) -> Answer:
    """Delete a feature."""
    call.service.delete_feature(call.project, call.feature)
    return OK


def generate_feature(call: Call) -> Answer:
    """Dispatch a generation."""
    feature, site_url = call.feature, call.fields().text("siteUrl") or call.project.base_url
    generation = call.service.dispatch_generation(feature, site_url)
    return json_answer({"requestId": generation.request_id, "featureId": feature.id}, 202)


def get_generation_status(call: Call) -> Answer:
    """Show the progress of a feature's latest generation."""
    feature, generation = call.feature, call.generation
    head = _generation_head(feature) | {"featureStatus": feature.status}
    # Assumed: a feature that was never generated has these three fields and no others.
    return json_answer(head | generation.progress(call.now) if generation else head)


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


def cancel_generation(call: Call) -> Answer:
    """Cancel the generation in flight."""
    call.service.cancel_generation(call.feature)
    return OK


def run_feature(call: Call) -> Answer:
    """Dispatch a run."""
    project, feature, fields = call.project, call.feature, call.fields()
    run = call.service.dispatch_run(
        project,
        feature,
        config=fields.text("config") or "Default",
        site_url=fields.text("siteUrl") or project.base_url,
    )
    return json_answer({"runId": run.id, "featureId": feature.id}, 202)


def list_runs(call: Call) -> Answer:
    """List the latest runs of the project, or of one feature; the newest first."""
    project, feature = call.project, call.queried_feature
    runs = call.service.runs_of(feature or project)
    rows = (run.row(call.now) for run in islice(reversed(runs), call.limit))
    return Answer(200, b"[" + b",".join(rows) + b"]")


def get_run(call: Call) -> Answer:
    """Show one run's digest."""
    return Answer(200, call.run.digest(call.now))


def diagnose_run(call: Call) -> Answer:
    """Show the diagnosis of a run: failures, sources, log and artifacts."""
    return json_answer(call.run.diagnosis(call.now) | {"artifacts": _linked_artifacts(call)})


def get_run_artifacts(call: Call) -> Answer:
    """List the files of a run, with links that soon expire."""
    return json_answer(_linked_artifacts(call))


def list_files(call: Call) -> Answer:
    """List a project's files."""
    return json_answer([file.row() for file in files(call.project)])


def read_file(call: Call) -> Answer:
    """Show one file."""
    project, path = call.project, call.query.get("path")
    if not path:
        raise invalid_request("The query parameter 'path' is required.")
    file = find_file(project, path)
    if file is None:
        raise not_found(f"This project has no file {path!r}.")
    return json_answer(file.document())


def write_file(call: Call) -> Answer:
    """Store a file's new content."""
    project, fields = call.project, call.fields()
    write(project, fields.required("path"), fields.required("content"))
    return OK


def list_configs(call: Call) -> Answer:
    """List the configurations that a run can name."""
    return json_answer(configs(call.project))


OPERATIONS: Mapping[str, Callable[[Call], Answer]] = {
    operation.__name__: operation
    for operation in (
        list_projects,
        get_project,
        list_features,
        get_feature,
        create_feature,
        update_feature,
        delete_feature,
        generate_feature,
        get_generation_status,
        get_generation_log,
        cancel_generation,
        run_feature,
        list_runs,
        get_run,
        diagnose_run,
        get_run_artifacts,
        list_files,
        read_file,
        write_file,
        list_configs,
    )
}


def _generation_head(feature: Feature) -> dict[str, object]:
    return {"featureId": feature.id, "featureName": feature.name}


def _linked_artifacts(call: Call) -> list[dict[str, object]]:
    run, make = call.run, call.service.links.make
    return [
        file.document() | {"url": make(artifact_path(run.id, file.path))}
        for file in run.artifacts(call.now)
    ]
