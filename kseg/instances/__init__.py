"""Objects of one class told apart: grouping, objects, and their scores."""

from kseg.instances.evaluating import evaluate_instances
from kseg.instances.grouping import HEIGHT, Groups, group
from kseg.instances.objects import Box, Instances, Object, instances_of
from kseg.instances.outlines import draw_instances
from kseg.instances.predicting import predict_instances, tells_objects_apart
from kseg.instances.scores import ObjectMatcher, PanopticScores, Quality

__all__ = [
    "HEIGHT",
    "Box",
    "Groups",
    "Instances",
    "Object",
    "ObjectMatcher",
    "PanopticScores",
    "Quality",
    "draw_instances",
    "evaluate_instances",
    "group",
    "instances_of",
    "predict_instances",
    "tells_objects_apart",
]
