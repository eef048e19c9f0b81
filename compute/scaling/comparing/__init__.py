"""Two files of results beside each other, and whether the second is a regression. All of it is pure.

pairs.py      which point of one file is which of the other, and the ratio of their times
machines.py   what changed between the machines and versions that two files were measured with
controls.py   how much faster one machine was than the other, by the gauges that ran beside
reached.py    `speedup`: the speedup of a point, with its interval at any level
gate.py       fine, a regression, or inconclusive
"""
