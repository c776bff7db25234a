"""Objects that tell in which process they are, and whether they still are."""

import os
import socket
import weakref

_boxes = weakref.WeakValueDictionary()


class Box:
    """Holds one value."""

    def __init__(self, value):
        self.value = value
        self.used = 0
        _boxes[value] = self

    def use(self):
        """Counts its uses, and tells the process too."""
        self.used += 1
        return [self.value, self.used, process()]


def use(box):
    """Uses a box that comes as an argument."""
    return box.use()


def use_both(first, second):
    """Uses two boxes."""
    return [first.use(), second.use()]


def exists(value):
    """Whether a box with this value is still held by anything."""
    return value in _boxes


def process():
    """Tells which process of which pod this is."""
    return "%s-%d" % (socket.gethostname(), os.getpid())
