"""All pictures of one simulation: the answer, what an event camera saw, the spikes."""

from collections.abc import Iterator

from PIL import Image

from s2f_deploy.ir.graph import Graph
from s2f_sim.annotate import annotate
from s2f_sim.answer import Answer, Found
from s2f_sim.camera_picture import draw_events, events_image
from s2f_sim.detection_picture import draw_detections
from s2f_sim.raster import draw_raster
from s2f_sim.run import Run
from s2f_sim.sample import Recording, Sample
from s2f_sim.segmentation_picture import draw_labels, draw_regions
from s2f_sim.segmented import Segmented


def draw_answer(
    graph: Graph, run: Run, sample: Sample, found: Answer, title: str, caption: str
) -> Iterator[tuple[str, bytes]]:
    """Yield ``answer``, ``spikes``, of recordings ``events``, of segmentation ``labels``, as PNG.

    Args:
        graph: what ran.
        run: of one sample.
        sample: what it ran on.
        found: its answer.
        title: what answered.
        caption: spikes, operations, timesteps.
    """
    source = sample.source
    picture = source if isinstance(source, Image.Image) else events_image(source.events)
    if isinstance(found, Found):
        yield "answer", draw_detections(picture, found.things, title=title, caption=caption)
    elif isinstance(found, Segmented):
        yield "answer", draw_regions(picture, found, title=title, caption=caption)
        yield "labels", draw_labels(found)
    else:
        seen = sample.seen
        yield "answer", annotate(picture, found.scores, title=title, caption=caption, seen=seen)
    if isinstance(source, Recording):
        name, span = sample.path.name, f"{(source.end - source.start) / 1e3:,.1f} ms"
        yield (
            "events",
            draw_events(
                source.events,
                source.steps,
                source.start,
                source.end,
                title=name,
                caption=f"{len(source.events):,} events in {span}, {source.steps} real timesteps",
            ),
        )
    yield "spikes", draw_raster(graph, run)
