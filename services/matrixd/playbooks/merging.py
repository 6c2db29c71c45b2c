"""One playbook's entries in another: a copy, or a hand-over between coordinators."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.vector.v1 import vector_pb2

from services.matrixd.corpora.corpora import Corpora
from services.matrixd.errors import PlaybooksDiffer
from services.matrixd.playbooks.recorder import Locks, check_playbook, create_playbook
from services.runtime.errors import InvalidArgument
from services.runtime.names import same_name

_PAGE = 1_000


@dataclass(slots=True)
class Merged:
    """What a merge did, and how many entries there are now."""

    merged: int = 0
    skipped: int = 0
    source_count: int = 0
    dest_count: int = 0


async def merge_playbooks(corpora: Corpora, locks: Locks, source: str, dest: str, *, clear_source: bool) -> Merged:
    """Copies what `dest` lacks, then with `clear_source` removes from `source` what `dest` has.

    What is in both stays as `dest` has it. An interrupted merge is finished by merging again.
    Raises InvalidArgument, CorpusNotFound, NotAPlaybook, PlaybooksDiffer.
    """
    if same_name(source) == same_name(dest):
        raise InvalidArgument.of("dest", "must be another playbook than source")
    first, second = sorted((source, dest), key=same_name)
    async with locks.of(first), locks.of(second):
        return await _merge(corpora, source, dest, clear_source)


async def _merge(corpora: Corpora, source: str, dest: str, clear_source: bool) -> Merged:
    corpora.forget([source, dest])
    info = await corpora.get(source)
    check_playbook(info, "")
    target = await corpora.find(dest)
    if target is None:
        await create_playbook(corpora, dest, info.model, info.dimension)
    else:
        check_playbook(target, "")
        if (target.model, target.dimension) != (info.model, info.dimension):
            message = f"playbook {source!r} is of model {info.model!r}, {dest!r} of {target.model!r}: record anew"
            raise PlaybooksDiffer(message, models=f"{info.model},{target.model}")
    result = Merged()
    token = ""
    while True:
        page = await corpora.page(source, _PAGE, token)
        ids = [item.id for item in page.items]
        there = await corpora.metadata(dest, ids) if ids else {}
        missing = [item for item in page.items if item.id not in there]
        if missing:
            vectors = await corpora.vectors(source, [item.id for item in missing])
            items = [
                vector_pb2.Item(id=item.id, vector=vectors[item.id], metadata=item.metadata)
                for item in missing
                if item.id in vectors
            ]
            await corpora.add(vector_pb2.AddItemsRequest(name=dest, items=items))
        result.merged += len(missing)
        result.skipped += len(there)
        token = page.next_page_token
        if clear_source and ids:
            await corpora.delete(source, ids)
        if not page.next_page_token:
            break
    result.source_count = await corpora.count(source)
    result.dest_count = await corpora.count(dest)
    return result
