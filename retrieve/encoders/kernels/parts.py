"""Parts: the submodules and parameters of a model at one time, for what was made of them and must not outlive them."""

from torch import Tensor, nn


class Parts:
    """The submodules and parameters of a model at one time.

    Parameters
    ----------
    model
        The model.
    versions
        Notice weights that are changed in place, too, as far as torch counts that.
    """

    def __init__(self, model: nn.Module, *, versions: bool = False) -> None:
        modules = list(model.modules())
        self._children = [(each._modules, name, child) for each in modules for name, child in each._modules.items()]
        self._parameters = [
            (each._parameters, name, parameter, parameter.data_ptr(), _version(parameter) if versions else None)
            for each in modules
            for name, parameter in each._parameters.items()
            if parameter is not None
        ]

    def are_same(self) -> bool:
        """Return whether none has been replaced, moved or changed."""
        for children, name, child in self._children:
            if children.get(name) is not child:
                return False
        for parameters, name, parameter, address, version in self._parameters:
            if parameters.get(name) is not parameter or parameter.data_ptr() != address:
                return False
            if version is not None and parameter._version != version:
                return False
        return True


def _version(parameter: Tensor) -> int | None:
    return None if parameter.is_inference() else parameter._version
