"""Between the contract's messages about tuning and this daemon's values."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from lakehouse.matrix.v1 import search_pb2, tuning_pb2

from services.matrixd.messages import fusion_from
from services.matrixd.playbooks.playbook import DEFAULT_PLAYBOOK
from services.matrixd.retrieval.search import DENSE
from services.matrixd.tuning.experiments import Experiment, Labelled, Trial
from services.matrixd.tuning.tuning import Tuning

_HELD_OUT, _SEED = 0.5, 42


def tuning_from(message: tuning_pb2.Tuning) -> Tuning:
    """A tuning, defaults filled in. Raises InvalidArgument for weights of zero."""
    return Tuning(
        retrieval=message.retrieval or DENSE,
        fusion=fusion_from(message.fusion),
        boost_limit=message.boost_limit if message.HasField("boost_limit") else None,
        inject_limit=message.inject_limit if message.HasField("inject_limit") else None,
        substitutes=dict(message.substitutes),
    )


def tuning_message(tuning: Tuning) -> tuning_pb2.Tuning:
    """A tuning as the contract says it."""
    fusion = tuning.fusion
    return tuning_pb2.Tuning(
        retrieval=tuning.retrieval,
        fusion=search_pb2.Fusion(
            method=fusion.method,
            rrf_k=fusion.rrf_k,
            dense_weight=fusion.dense_weight,
            lexical_weight=fusion.lexical_weight,
        ),
        boost_limit=tuning.boost_limit,
        inject_limit=tuning.inject_limit,
        substitutes=tuning.substitutes,
    )


def trial_from(request: tuning_pb2.RunExperimentRequest) -> Trial:
    """What to try."""
    playbook = request.playbook_corpus or DEFAULT_PLAYBOOK
    return Trial(
        candidate=tuning_from(request.candidate),
        corpora=tuple(request.corpora),
        queries=[_labelled(query) for query in request.queries],
        playbook=playbook if request.use_playbook else None,
        recorded_in=playbook,
        held_out=request.held_out if request.HasField("held_out") else _HELD_OUT,
        seed=request.seed if request.HasField("seed") else _SEED,
    )


def experiment_message(experiment: Experiment) -> tuning_pb2.Experiment:
    """What came of a change."""
    ended_at = Timestamp()
    ended_at.FromDatetime(datetime.fromisoformat(experiment.ended_at))
    return tuning_pb2.Experiment(
        id=experiment.id,
        candidate=tuning_message(experiment.candidate),
        baseline=tuning_message(experiment.baseline),
        corpora=experiment.corpora,
        baseline_ndcg=experiment.baseline_ndcg,
        candidate_ndcg=experiment.candidate_ndcg,
        low=experiment.low,
        high=experiment.high,
        queries=experiment.queries,
        held_out=experiment.held_out,
        promotable=experiment.promotable,
        verdict=experiment.verdict,
        ended_at=ended_at,
    )


def _labelled(query: tuning_pb2.LabelledQuery) -> Labelled:
    gains = {answer.answer_id: answer.gain if answer.HasField("gain") else 1.0 for answer in query.answers}
    return Labelled(query.query_text, gains)
