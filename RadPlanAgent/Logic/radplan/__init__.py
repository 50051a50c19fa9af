"""RadPlanAgent: radiotherapy treatment planning with a person in charge."""

__version__ = "0.1.0"
