"""Versions of installed packages, for reports and model cards."""

from importlib.metadata import PackageNotFoundError, version


def package_version(package: str) -> str | None:
    """Return an installed package's version; None if it is not installed.

    This project itself is not installed where its checkout is only on the path.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None
