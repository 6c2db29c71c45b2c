"""Which models there are, and which one a request means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from services.embedd.config import EmbedConfig
from services.embedd.errors import ModelNotFound
from services.embedd.hash_model import HashEncoder, hash_model
from services.embedd.providers import ComputedProvider, Model, Provider
from services.embedd.remote import RemoteProvider
from services.embedd.upstream import Upstream
from services.embedd.wordllama_model import WORDLLAMA, load_wordllama
from services.runtime.threads import Threads


class Registry:
    """The providers by the id of their model."""

    def __init__(self, providers: Iterable[Provider], default: str) -> None:
        """`default` is the id of one of them."""
        self._providers = {provider.model.id: provider for provider in providers}
        self._default = self._providers[default]

    @property
    def default(self) -> Provider:
        """The provider of requests that name no model."""
        return self._default

    def resolve(self, model_id: str) -> Provider:
        """The provider of a model, the default one for an empty id. Raises ModelNotFound."""
        if not model_id:
            return self._default
        provider = self._providers.get(model_id)
        if provider is None:
            known = ", ".join(sorted(self._providers))
            raise ModelNotFound(f"no model {model_id!r}; there are: {known}", model=model_id, models=known)
        return provider

    def models(self) -> list[Model]:
        """Every model, in the order of ids."""
        return [self._providers[model_id].model for model_id in sorted(self._providers)]

    async def close(self) -> None:
        """Lets go of the providers' connections."""
        for provider in self._providers.values():
            await provider.close()


def build_registry(config: EmbedConfig, threads: Threads, environ: Mapping[str, str]) -> Registry:
    """The built-in models and those of the settings; `environ` holds the keys of their servers."""
    hashing = partial(HashEncoder, config.hash_dimension)
    providers: list[Provider] = [
        ComputedProvider(hash_model(config.hash_dimension), hashing, threads),
        ComputedProvider(WORDLLAMA, load_wordllama, threads),
    ]
    for model_id, model in config.models.items():
        providers.append(RemoteProvider(model_id, model, Upstream(model_id, model, environ), threads))
    return Registry(providers, config.default_model)
