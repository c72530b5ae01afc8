"""Which pixels support a class, by several methods with their checks."""

from cnnlab.interpret.attribution import view as view
