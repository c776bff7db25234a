"""The file that is run: takes the folder that it is in as a package of a private name, wherever that lies."""

import importlib.util
import os
import sys

NAME = "_jac_orc_guest"


def main():
    folder = os.path.dirname(os.path.realpath(__file__))
    spec = importlib.util.spec_from_file_location(
        NAME, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None  # as the file exists
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    importlib.import_module(NAME + ".process").main(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
