"""The file that is run: takes the folder that it is in as a package of a private name, wherever that lies."""

import importlib.util
import pathlib
import sys

NAME = "_jac_orc_guest"


def main():
    folder = pathlib.Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        NAME, str(folder / "__init__.py"), submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None  # as the file exists
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    importlib.import_module(NAME + ".process").main(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
