"""Router: different modules for queries and documents."""

from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from indexing.errors import InputError, ModelError
from retrieve.encoders.modules.module import LoadOptions, Module, check_settings, read_settings, subfolder, write_json

_CONFIG_FILES = ("router_config.json", "config.json")


@dataclass(frozen=True, slots=True)
class _Routes:
    """Modules and routes of a router in a checkpoint."""

    types: Mapping[str, str] = field(metadata={"is": "the class of each module"})
    structure: Mapping[str, Sequence[str]] = field(metadata={"is": "the modules of each route"})
    parameters: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Parameters:
    """Parameters of a router in a checkpoint."""

    default_route: str | None = None
    allow_empty_key: bool = True
    route_mappings: Mapping[str, str] | None = None


class Router(Module):
    """Container of a sequence of modules per route; `modules_for_task` selects the route of a task.

    Parameters
    ----------
    routes
        {name: sequence of modules}, usually for "query" and "document"; routes may share modules.
    default_route
        Route of texts without a task; None for the first route, or for no route if `allow_empty_key` is False.
    route_mappings
        {(task or None for any, modality or None for any): route}; takes precedence over the names of the routes.
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
        unknown = {self.default_route or next(iter(routes)), *self.route_mappings.values()} - set(routes)
        if unknown:
            raise ModelError(f"the router names {sorted(unknown)}, which are not among its routes {sorted(routes)}")

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load every module once, from its own subfolder."""
        from retrieve.encoders.modules import module_loader

        settings = config or _read_settings(folder)
        modules = {
            name: module_loader(reference, folder, options)(subfolder(folder, name, strict=True), options)
            for name, reference in settings["types"].items()
        }
        parameters = check_settings(_Parameters, settings.get("parameters") or {}, folder / _CONFIG_FILES[0])
        mappings = parameters.get("route_mappings") or {}
        try:
            return cls(
                {route: [modules[name] for name in names] for route, names in settings["structure"].items()},
                default_route=parameters.get("default_route"),
                allow_empty_key=parameters.get("allow_empty_key", True),
                route_mappings={literal_eval(key): route for key, route in mappings.items()},
            )
        except (KeyError, ValueError, SyntaxError, TypeError) as error:
            raise ModelError(f"{folder}: the router's configuration is damaged ({error})") from error

    @property
    def saved_type(self) -> str:
        """Dotted path of its class; also for `Asym`, which is saved in the current layout."""
        return f"{self.saved_package}.Router"

    def save(self, folder: Path) -> None:
        """Save every module once, in its own subfolder."""
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
        """Return the files of all its modules."""
        from retrieve.encoders.modules import module_files

        types = _read_settings(folder)["types"]
        return [file for name in types for file in module_files(types[name], subfolder(folder, name, strict=True))]

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the router and of the modules of each route."""
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
        """Return the modules of a route."""
        modules: Any = self.routes[name]
        return list(modules)

    def resolve(self, task: str | None) -> str:
        """Return the route of a task, in sentence-transformers' order: by mapping, by name, or the default.

        Raises
        ------
        InputError
            If there is none.
        """
        for key in ((task, "text"), (task, None), (None, "text"), (None, None)):
            if key in self.route_mappings:
                return self.route_mappings[key]
        name = next((name for name in (task, "text") if name is not None and name in self.routes), None)
        if name is None and task is None:
            name = self.default_route
        if name is None:
            requested = "no task" if task is None else f"the task {task!r}"
            raise InputError(f"the model has no route for {requested}, only {', '.join(sorted(self.routes))}")
        return name


def modules_for_task(modules: Iterable[Module], task: str | None) -> list[Any]:
    """Return the modules that run for a task, with every router replaced by the modules of its route."""
    chosen: list[Module] = []
    for module in modules:
        chosen += modules_for_task(module.route(module.resolve(task)), task) if isinstance(module, Router) else [module]
    return chosen


def _read_settings(folder: Path) -> dict[str, Any]:
    path = next((folder / name for name in _CONFIG_FILES if (folder / name).is_file()), None)
    if path is None:
        raise ModelError(f"{folder}: there is no {_CONFIG_FILES[0]} with the routes' types and structure")
    return read_settings(_Routes, path)


class Asym(Router):
    """Router of sentence-transformers before 5.0."""
