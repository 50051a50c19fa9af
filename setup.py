"""Packages of the wheel: those below Logic, and the resources that lie beside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("RadPlanAgent/Logic"), "radplan._resources"],
    package_dir={"": "RadPlanAgent/Logic", "radplan._resources": "RadPlanAgent/Resources"},
    package_data={
        "radplan": ["**/*.css", "**/*.j2"],
        "radplan._resources": ["Protocols/*", "Prompts/*", "Examples/*"],
    },
)
