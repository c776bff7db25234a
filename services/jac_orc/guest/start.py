"""The file that is run: takes the folder that it is in as a package of a private name, wherever that lies.

What is in the package has builtins of its own, so that none that the module's code replaces is used in it.
"""

import builtins
import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036 - the Python of an image may be any
    sys.exit("the module's Python is %d.%d; use 3.10 or newer" % sys.version_info[:2])
if __name__ == "__main__" and sys.path[:1] == [os.path.dirname(__file__)]:  # not there where PYTHONSAFEPATH is set
    del sys.path[0]

import importlib.machinery
import importlib.util

NAME = "_jac_orc_guest"
BUILTINS = dict(vars(builtins))


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module that has the builtins of this moment."""

    def exec_module(self, module):
        vars(module)["__builtins__"] = BUILTINS
        super().exec_module(module)


def main():
    folder = os.path.dirname(os.path.realpath(__file__))
    path = os.path.join(folder, "__init__.py")
    sys.path_importer_cache[folder] = importlib.machinery.FileFinder(folder, (Loader, [".py"]))
    spec = importlib.util.spec_from_file_location(
        NAME, path, loader=Loader(NAME, path), submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None  # as the file exists
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    importlib.import_module(NAME + ".process").main(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
