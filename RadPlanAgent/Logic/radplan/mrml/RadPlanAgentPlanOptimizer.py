"""Our optimizer as a plug-in of SlicerRT's External Beam Planning.

SlicerRT loads this file by its path (qSlicerScriptedPlanOptimizer.cxx) and takes from the module
``PlanOptimizers.RadPlanAgentPlanOptimizer`` the class of the same name; `rt_register` puts it
there. Nothing else may import it: it needs SlicerRT.
"""

from __future__ import annotations

import logging
from typing import Any

from PlanOptimizers.AbstractScriptedPlanOptimizer import AbstractScriptedPlanOptimizer

from radplan.errors import InputError
from radplan.mrml import rt_optimize

logger = logging.getLogger(__name__)


class RadPlanAgentPlanOptimizer(AbstractScriptedPlanOptimizer):
    """Squared deviations, DVH points, gEUD and the like, minimized with L-BFGS-B.

    Parameters
    ----------
    scriptedPlanOptimizer : qSlicerScriptedPlanOptimizer
        SlicerRT's adaptor.
    """

    def __init__(self, scriptedPlanOptimizer: Any) -> None:
        scriptedPlanOptimizer.name = "RadPlanAgent"
        AbstractScriptedPlanOptimizer.__init__(self, scriptedPlanOptimizer)

    def setAvailableObjectives(self) -> dict:
        """What the objectives table offers: functions, their parameters and defaults."""
        return rt_optimize.available_objectives()

    def optimizePlanUsingOptimizer(
        self,
        planNode: Any,
        objectives: list,
        resultOptimizationVolumeNode: Any,
    ) -> str:
        """Optimize a plan into a volume.

        Returns
        -------
        str
            What is wrong; empty on success. Never raises: SlicerRT takes an exception for
            success.
        """
        try:
            nodes = [row["ObjectiveNode"] for row in objectives]
            optimized = rt_optimize.optimize_rt_plan(planNode, nodes, self._report)
            rt_optimize.write_dose(resultOptimizationVolumeNode, optimized)
            if planNode.GetOutputTotalDoseVolumeNode() is None:
                resultOptimizationVolumeNode.SetName(f"{planNode.GetName()}_RadPlanAgent_Dose")
            self.scriptedPlanOptimizer.progressInfoUpdated(
                f"{optimized.status}; scaled by {optimized.scale:.4g} to {optimized.normalized_to}"
            )
        except InputError as error:
            return f"RadPlanAgent: {error}"
        except Exception as error:
            logger.exception("RadPlanAgent's optimizer failed")
            return f"RadPlanAgent failed ({type(error).__name__}: {error}); see the error log"
        return ""

    def _report(self, stage: str, fraction: float) -> None:
        self.scriptedPlanOptimizer.progressInfoUpdated(f"{stage} {100 * fraction:.0f} %")
