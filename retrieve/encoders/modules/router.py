"""Different modules for queries and for documents."""

from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from indexing.errors import InputError, ModelError
from retrieve.encoders.modules.module import LoadOptions, Module, read_json, write_json

_CONFIG_FILES = ("router_config.json", "config.json")


class Router(Module):
    """Holds a sequence of modules for each route; `paths` puts the one for a task in its place.

    Parameters
    ----------
    routes
        {name: modules one after another}, usually of "query" and "document"; they may share modules.
    default_route
        Of texts that are neither; None for the first, or for none where `allow_empty_key` is False.
    route_mappings
        {(task or None for any, modality or None for any): name}, asked before the names themselves.
    """

    def __init__(
        self,
        routes: Mapping[str, Sequence[Module]],
        *,
        default_route: str | None = None,
        allow_empty_key: bool = True,
        route_mappings: Mapping[tuple[str | None, Any], str] | None = None,
    ) -> None:
        super().__init__()
        if not routes or not all(routes.values()):
            raise ModelError("a router needs a module on each of its routes")
        self.routes = torch.nn.ModuleDict({name: torch.nn.Sequential(*modules) for name, modules in routes.items()})
        self.default_route = default_route or (next(iter(routes)) if allow_empty_key else None)
        self.allow_empty_key, self.route_mappings = allow_empty_key, dict(route_mappings or {})
        lost = {self.default_route or next(iter(routes)), *self.route_mappings.values()} - set(routes)
        if lost:
            raise ModelError(f"the router names {sorted(lost)}, which is none of its routes {sorted(routes)}")

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load every module once, from its own folder below."""
        from retrieve.encoders.modules import module_loader

        settings = config or _read(folder)
        modules = {
            name: module_loader(reference, folder, options)(_below(folder, name), options)
            for name, reference in settings["types"].items()
        }
        parameters = settings.get("parameters") or {}
        mappings = parameters.get("route_mappings") or {}
        try:
            return cls(
                {route: [modules[name] for name in names] for route, names in settings["structure"].items()},
                default_route=parameters.get("default_route"),
                allow_empty_key=parameters.get("allow_empty_key", True),
                route_mappings={literal_eval(key): route for key, route in mappings.items()},
            )
        except (KeyError, ValueError, SyntaxError) as error:
            raise ModelError(f"{folder}: the router's configuration is damaged ({error})") from error

    @property
    def saved_type(self) -> str:
        """The dotted path; that of older routers reads today's layout too."""
        return f"{self.home}.Router"

    def save(self, folder: Path) -> None:
        """Write every module once, in its own folder below."""
        names: dict[int, str] = {}
        types: dict[str, str] = {}
        structure: dict[str, list[str]] = {}
        for route in self.routes:
            for at, module in enumerate(self.route(route)):
                if id(module) not in names:
                    name = names[id(module)] = f"{route}_{at}_{module.saved_type.rpartition('.')[2]}"
                    types[name] = module.saved_type
                    (folder / name).mkdir()
                    module.save(folder / name)
                structure.setdefault(route, []).append(names[id(module)])
        parameters: dict[str, Any] = {"default_route": self.default_route, "allow_empty_key": self.allow_empty_key}
        if self.route_mappings:
            parameters["route_mappings"] = self.config["route_mappings"]
        write_json(folder / _CONFIG_FILES[0], {"types": types, "structure": structure, "parameters": parameters})

    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        """Give the files of all its modules."""
        from retrieve.encoders.modules import module_files

        types = _read(folder)["types"]
        return [file for name in types for file in module_files(types[name], _below(folder, name))]

    @property
    def config(self) -> dict[str, Any]:
        """The routes' modules with their settings, and which route is whose."""
        return {
            "routes": {
                name: [{"type": type(module).__name__, **module.config} for module in self.route(name)]
                for name in self.routes
            },
            "default_route": self.default_route,
            "allow_empty_key": self.allow_empty_key,
            "route_mappings": {str(key): route for key, route in self.route_mappings.items()},
        }

    def route(self, name: str) -> list[Any]:
        """Give the modules of a route."""
        modules: Any = self.routes[name]
        return list(modules)

    def resolve(self, task: str | None) -> str:
        """Give the route of a task, in sentence-transformers' order: mappings, the route of its name, the default.

        Raises
        ------
        InputError
            When there is none.
        """
        for key in ((task, "text"), (task, None), (None, "text"), (None, None)):
            if key in self.route_mappings:
                return self.route_mappings[key]
        name = next((name for name in (task, "text") if name is not None and name in self.routes), None)
        if name is None and task is None:
            name = self.default_route
        if name is None:
            asked = "no task" if task is None else f"the task {task!r}"
            raise InputError(f"the model has no route for {asked}, only {', '.join(sorted(self.routes))}")
        return name


def modules_for_task(modules: Iterable[Module], task: str | None) -> list[Any]:
    """Give the modules that a text passes for a task, those of the routes in place of their router."""
    passed: list[Module] = []
    for module in modules:
        passed += modules_for_task(module.route(module.resolve(task)), task) if isinstance(module, Router) else [module]
    return passed


def _read(folder: Path) -> dict[str, Any]:
    found = next((folder / name for name in _CONFIG_FILES if (folder / name).is_file()), None)
    settings = read_json(found) if found is not None else {}
    if not isinstance(settings.get("types"), dict) or not isinstance(settings.get("structure"), dict):
        raise ModelError(f"{folder}: there is no {_CONFIG_FILES[0]} with the routes' types and structure")
    return settings


def _below(folder: Path, name: str) -> Path:
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder}: the router's module {name!r} leads out of the model's folder")
    return folder / name


class Asym(Router):
    """The router of sentence-transformers before 5.0."""
