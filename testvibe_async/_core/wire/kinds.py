"""The kinds of operations: a descriptor for each, with the service's calls and words.

All differences in data are listed here, once. A difference in behaviour is a class or a function
for each kind, chosen by the kind's name: the records of `_core.polling`, the dispatches and the
evidence of `_core.dispatch`, and the handles in `operations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from testvibe_async._core.wire.endpoints import Endpoint, Endpoints, Request
from testvibe_async.models import FeatureStatus, Generation, Run, RunStatus, Snapshot
from testvibe_async.refs import GenerationRef, Ref, RunRef

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from testvibe_async.errors import KindName


@frozen(kw_only=True)
class Kind:
    """One kind of operation."""

    ref: type[Ref]
    snapshot: type[Snapshot]

    in_flight: str
    """The service's word for a dispatched operation that has not finished."""

    dispatched_by: Endpoint[Any]
    """The call that starts an operation."""

    read_by: Endpoint[Any]
    """The call that reads an operation by its id."""

    id_name: str
    """The field with the service's id, of a ref and of an answer that names an operation."""

    id_in_path: tuple[str, str]
    """The placeholder of the id in the path of `read_by`, and the ref's field with its value."""

    shown_by: str
    """The evidence that a dispatch took effect, in words that suit code, commands and tools."""

    listed_by: Endpoint[Any]
    """The call whose rows show many operations at once."""

    id_in_row: str
    """The member of a row with the id."""

    has_limit: bool
    """True if `listed_by` accepts a `limit` and lists the newest first; otherwise it lists all."""

    row_is_whole: bool
    """True if a row shows every change; a feature's row shows no generation's sections."""

    ids_grow: bool
    """True if a later operation of a project has a higher id."""

    task_type: str
    """The type of a pipeline's task, in the words of OpenTelemetry."""

    longest_interval: float
    """Maximum interval between two polls of an old operation, in multiples of the base interval."""

    @property
    def name(self) -> KindName:
        """The kind's name, as in refs and rows."""
        return self.ref.kind

    def read_request(self, ref: Ref) -> Request[Any]:
        """Return the documented call that reads an operation by its id."""
        placeholder, field = self.id_in_path
        return self.read_by.request(project=ref.project, **{placeholder: getattr(ref, field)})

    def ref_of(
        self,
        answer: Any,  # noqa: ANN401 - of this kind
        *,
        server: str,
        project: str,
        dispatched_at: datetime | None = None,
        traceparent: str | None = None,
    ) -> Ref:
        """Return the ref of the operation that an answer names: of a dispatch, or a snapshot."""
        return self.ref(
            server=server,
            project=project,
            dispatched_at=dispatched_at,
            traceparent=traceparent,
            **{self.id_name: getattr(answer, self.id_name), "feature_id": answer.feature_id},
        )


RUN = Kind(
    ref=RunRef,
    snapshot=Run,
    id_name="run_id",
    in_flight=RunStatus.RUNNING,
    dispatched_by=Endpoints.RUN_FEATURE,
    read_by=Endpoints.GET_RUN,
    id_in_path=("run", "run_id"),
    shown_by="the feature's runs",
    listed_by=Endpoints.LIST_RUNS,
    id_in_row="runId",
    has_limit=True,
    row_is_whole=True,
    ids_grow=True,
    task_type="test",
    longest_interval=1.0,
)

GENERATION = Kind(
    ref=GenerationRef,
    snapshot=Generation,
    id_name="request_id",
    in_flight=FeatureStatus.GENERATING,
    dispatched_by=Endpoints.GENERATE_FEATURE,
    read_by=Endpoints.GET_GENERATION_STATUS,
    id_in_path=("feature", "feature_id"),
    shown_by="the status of the feature's generation",
    listed_by=Endpoints.LIST_FEATURES,
    id_in_row="id",
    has_limit=False,
    row_is_whole=False,
    ids_grow=False,
    task_type="build",
    longest_interval=10 / 3,
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (RUN, GENERATION)}
"""All kinds, by name."""
