"""The user's own code on its way in: uploaded in pieces, or within a module spec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from jac_orc.errors import error
from jac_orc.pod_manager.sources import SourceRef, Sources
from jac_orc.v1 import pod_manager_pb2 as pb


async def receive(sources: Sources, pieces: AsyncIterator[pb.UploadSourceRequest]) -> pb.UploadSourceResponse:
    """Stores what the pieces are together; raises OrcError, and then nothing of it is left."""
    first = await anext(pieces, None)
    if first is None:
        raise error("MALFORMED_REQUEST", "the call came without a message; the first one names the file")
    try:
        upload = await asyncio.to_thread(sources.begin, first.file_name, first.digest)
        with upload:
            await asyncio.to_thread(upload.write, first.data)
            async for piece in pieces:
                await asyncio.to_thread(upload.write, piece.data)
            ref, size = await asyncio.to_thread(upload.finish)
            await asyncio.to_thread(sources.note_left_out, ref, dict(first.left_out))
    except OSError as failure:
        raise _not_stored(failure) from failure
    return pb.UploadSourceResponse(source=_uploaded(ref), size=size)


async def store(sources: Sources, spec: pb.ModuleSpec) -> pb.ModuleSpec:
    """The spec with what it brings along stored and named instead; raises OrcError."""
    kind = spec.source.WhichOneof("kind") if spec.HasField("source") else None
    if kind is None:
        if spec.HasField("source"):
            raise error("SPEC_INVALID", "source: give one of files, zip, wheel, sdist, uploaded", {"fields": "source"})
        return spec
    source = spec.source
    try:
        if kind == "uploaded":
            await asyncio.to_thread(sources.check, SourceRef(source.uploaded.digest, source.uploaded.file_name))
            return spec
        if kind == "files":
            ref = await asyncio.to_thread(sources.add_files, dict(source.files.contents))
        elif kind == "zip":
            ref = await asyncio.to_thread(sources.add, "source.zip", source.zip)
        else:
            archive = getattr(source, kind)
            ref = await asyncio.to_thread(sources.add, archive.file_name, archive.data)
    except OSError as failure:
        raise _not_stored(failure) from failure
    stored = pb.ModuleSpec()
    stored.CopyFrom(spec)
    stored.source.uploaded.CopyFrom(_uploaded(ref))
    return stored


def _uploaded(ref: SourceRef) -> pb.UploadedSource:
    return pb.UploadedSource(digest=ref.digest, file_name=ref.file_name)


def _not_stored(failure: OSError) -> Exception:
    return error("SOURCE_NOT_STORED", f"the source can't be stored: {failure.strerror or failure}")
