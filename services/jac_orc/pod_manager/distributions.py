"""Which distribution provides an import name, where the two differ.

The names below are the distributions' own choice and stable; for any other name the distribution is called as the
module is, which the index's name rules (PEP 503) make true for the great majority.
"""

from __future__ import annotations

from jac_orc.pod_manager.model import is_standard_library

_PROVIDED_BY = {
    "Crypto": "pycryptodome",
    "Cryptodome": "pycryptodomex",
    "Levenshtein": "levenshtein",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cairo": "pycairo",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "pymupdf",
    "git": "gitpython",
    "github": "pygithub",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "jose": "python-jose",
    "jwt": "pyjwt",
    "lxml_html_clean": "lxml-html-clean",
    "magic": "python-magic",
    "mpl_toolkits": "matplotlib",
    "multipart": "python-multipart",
    "nacl": "pynacl",
    "pkg_resources": "setuptools",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "pylab": "matplotlib",
    "rest_framework": "djangorestframework",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "slugify": "python-slugify",
    "socks": "pysocks",
    "telegram": "python-telegram-bot",
    "usb": "pyusb",
    "win32api": "pywin32",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}


def default_requirements(module_name: str) -> tuple[str, ...]:
    """The requirements of a module whose spec names none: empty for the standard library, else its distribution."""
    if is_standard_library(module_name):
        return ()
    segments = module_name.split(".")
    for length in range(len(segments), 0, -1):
        if found := _PROVIDED_BY.get(".".join(segments[:length])):
            return (found,)
    return (segments[0],)
