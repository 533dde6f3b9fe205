"""The processes that search images for boxes: how many images they hold, and how many threads they take."""

import concurrent.futures

from frcnn_alt.proposals import from_pixels
from frcnn_alt.proposals.opencv import import_opencv

import pytest

pytest.importorskip("cv2.ximgproc", reason="OpenCV's contrib module is an optional package")


def test_images_are_handed_out_a_few_at_a_time_and_come_as_they_are_found():
    futures, most = {}, 0

    def submit(function, method, image):
        nonlocal most
        futures[image["image_id"]] = future = concurrent.futures.Future()
        most = max(most, sum(not one.done() for one in futures.values()))
        if image["image_id"] != "slow":
            future.set_result(image["image_id"])
        return future

    images = [{"image_id": name} for name in ("slow", *map(str, range(20)))]
    found = []
    for _, result in from_pixels._as_found(submit, None, images, ahead=4):
        found.append(result)
        if len(found) == 20 and not futures["slow"].done():
            futures["slow"].set_result("slow")
    assert sorted(found[:20]) == sorted(map(str, range(20))) and found[20:] == ["slow"]
    assert len(futures) == 21 and most <= 4


def test_each_process_has_one_thread_of_the_library():
    assert import_opencv().getNumThreads() == 1
