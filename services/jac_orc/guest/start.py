"""The file that is run: takes the folder that it is in as a package of a private name, wherever that lies."""


def main():
    import os
    import sys

    if sys.version_info < (3, 10):  # noqa: UP036 - the Python of an image may be any
        sys.exit("the module's Python is %d.%d; use 3.10 or newer" % sys.version_info[:2])
    if sys.path[:1] == [os.path.dirname(__file__)]:  # as Python has put there, unless PYTHONSAFEPATH is set
        del sys.path[0]
    import importlib.util

    name, folder = "_jac_orc_guest", os.path.dirname(os.path.realpath(__file__))
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None  # as the file exists
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    importlib.import_module(name + ".process").main(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
