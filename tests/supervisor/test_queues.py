from appliance.supervisor.queues import Queue


def test_the_line_begins_with_the_first_and_lasts_while_anybody_waits() -> None:
    queue = Queue()
    assert queue.asked(5) == 0
    queue.join(10)
    queue.join(20)
    queue.leave()
    assert (queue.asked(30), queue.since) == (1, 10)
    queue.leave()
    assert queue.asked(30) == 0
    queue.join(40)
    assert queue.since == 40


def test_the_place_of_whoever_was_told_to_come_back_is_kept_for_a_while() -> None:
    queue = Queue()
    queue.join(10)
    queue.leave()
    queue.sent_away(20, back_in=30)
    assert queue.asked(54) == 1
    assert queue.asked(55) == 0
    queue.join(50)
    assert queue.since == 10, "it has not lost its place"
    queue.leave()
    queue.join(60)
    assert queue.since == 60


def test_whoever_was_served_goes_to_the_end_of_the_line() -> None:
    queue = Queue()
    queue.join(10)
    queue.sent_away(20, back_in=30)
    queue.served(25)
    assert (queue.asked(26), queue.since) == (1, 25)
    queue.leave()
    assert queue.asked(27) == 0
