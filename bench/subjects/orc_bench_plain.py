"""A user's module for the benchmark."""

import math


def hypot(x, y):
    return math.hypot(x, y)


def add(x, y):
    return x + y


def identity(value):
    return value


def numbers(count):
    yield from range(int(count))


class Thing:
    def __init__(self, number):
        self.number = number
