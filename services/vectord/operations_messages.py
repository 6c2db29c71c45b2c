"""Messages about aliases, trials, promotions and the agent, and the engine's values. No rule is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message

from lakehouse.vector.v1 import operation_pb2, parameters_pb2, trial_pb2

from services.vectord.operations.orders import Autotune, Rebuild
from services.vectord.segments.building import Parameters
from services.vectord.segments.metric import Floats
from services.vectord.segments.storage import STORAGE_TYPES
from services.vectord.tree.aliases import Alias
from services.vectord.tuning.agent_journal import AgentState, Step
from services.vectord.tuning.evals import EvalSet
from services.vectord.tuning.trial import MINIMUM_RECALL, Promotion, Trial


def parameters_from(message: parameters_pb2.BuildParameters) -> Parameters:
    """Parameters as they were given: 0 where nothing was."""
    return Parameters(m=message.m, ef_construction=message.ef_construction, ef_search=message.ef_search)


def parameters(given: Parameters) -> parameters_pb2.BuildParameters:
    """How graphs are built and searched."""
    return parameters_pb2.BuildParameters(m=given.m, ef_construction=given.ef_construction, ef_search=given.ef_search)


def minimum_recall(request: trial_pb2.AutotuneRequest | trial_pb2.PromoteTrialRequest) -> float:
    """The least recall, when none is given the usual one."""
    return request.minimum_recall if request.HasField("minimum_recall") else MINIMUM_RECALL


def autotune_from(request: trial_pb2.AutotuneRequest) -> Autotune:
    """What is to be tried."""
    return Autotune(
        eval_set=request.eval_set,
        grid=[parameters_from(one) for one in request.grid],
        minimum_recall=minimum_recall(request),
        promote=request.promote,
    )


def rebuild_from(request: operation_pb2.RebuildIndexRequest) -> Rebuild:
    """How an index is to be made anew."""
    return Rebuild(
        parameters=parameters_from(request.parameters),
        storage_type=next((one for one in STORAGE_TYPES if one == request.storage_type), None),
        dest=request.dest,
        alias=request.alias,
    )


def alias(one: Alias) -> operation_pb2.Alias:
    """An alias."""
    message = operation_pb2.Alias(name=one.name, index=one.index, previous=one.previous)
    message.updated_at.FromNanoseconds(one.updated_ns)
    return message


def queries(messages: Iterable[trial_pb2.EvalQuery]) -> list[Floats]:
    """Questions, each an array of whatever length was sent."""
    return [np.asarray(message.values, dtype=np.float32) for message in messages]


def eval_set(one: EvalSet, index: str) -> trial_pb2.EvalSet:
    """What is known of an eval set."""
    message = trial_pb2.EvalSet(
        name=one.name, index=index, size=len(one.queries), k=one.k, origin=one.origin, seed=one.seed
    )
    message.created_at.FromNanoseconds(one.created_ns)
    return message


def trial(one: Trial) -> trial_pb2.Trial:
    """A trial."""
    message = trial_pb2.Trial(
        id=one.id,
        parameters=parameters(one.parameters),
        eval_set=one.eval_set,
        recall=one.recall,
        p50_ms=one.p50_ms,
        p99_ms=one.p99_ms,
        build_seconds=one.build_seconds,
        items=one.items,
        started_by=one.started_by,
    )
    message.ended_at.FromNanoseconds(one.ended_ns)
    return message


def promotion(one: Promotion) -> trial_pb2.Promotion:
    """A promotion."""
    message = trial_pb2.Promotion(parameters=parameters(one.parameters), trial_id=one.trial_id, recall=one.recall)
    message.promoted_at.FromNanoseconds(one.promoted_ns)
    return message


def step(one: Step) -> trial_pb2.AgentStep:
    """Something the agent did."""
    message = trial_pb2.AgentStep(index=one.index, action=one.action, trial_id=one.trial_id, detail=one.detail)
    message.at.FromNanoseconds(one.at_ns)
    return message


def agent(state: AgentState) -> trial_pb2.Agent:
    """What the agent does and did."""
    message = trial_pb2.Agent(
        enabled=state.enabled,
        trials_per_hour=state.trials_per_hour,
        trials_last_hour=state.trials_last_hour,
        steps=[step(one) for one in state.steps],
    )
    message.next_trial_at.FromNanoseconds(state.next_trial_ns)
    return message


def trial_result(one: Trial) -> Mapping[str, Any]:
    """The result of a job that ran one trial."""
    return {"trial": _plain(trial(one))}


def tuned_result(trials: Sequence[Trial], won: Trial | None, *, promoted: bool) -> Mapping[str, Any]:
    """The result of a job that ran several; no `winner` when nobody won."""
    result = {"trials": [_plain(trial(one)) for one in trials], "promoted": promoted}
    return result | ({"winner": _plain(trial(won))} if won is not None else {})


def _plain(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
