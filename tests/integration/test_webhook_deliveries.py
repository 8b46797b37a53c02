"""Deliveries against the real Postgres, sent over loopback: claimed once, each event at least once,
and what an endpoint's answers lead to."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from loopback_receiver import Answer, Got
from rdev.domain.delivering import DeliveryRules, Plan
from rdev.domain.webhooks import State
from rdev.errors import Conflict
from rdev.services.deliveries import Deliveries, SendingRules
from rdev.services.webhooks import EndpointWish
from webhook_world import BY, QUICK, World, now, until, webhook_world


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with webhook_world(database_url) as world:
        yield world


def test_an_event_arrives_signed_and_its_attempt_is_recorded(world: World) -> None:
    receiver = world.receiver()
    wish = EndpointWish(url=receiver.url, headers={"authorization": "Bearer s3cret"})
    endpoint, secret = world.webhooks.create(BY, wish)
    deliveries = world.start()
    world.tell()
    deliveries.nudge()
    got = receiver.await_count(1)[0]
    assert got.verified(secret)["data"] == {"number": 0}
    assert got.headers["authorization"] == "Bearer s3cret"
    delivery = world.ended(endpoint)[0]
    full = world.log.get(BY, delivery.id)
    assert delivery.state is State.SUCCEEDED
    assert full.body == got.body
    (attempt,) = full.attempts
    assert attempt.outcome is not None
    assert (attempt.number, attempt.outcome.status) == (1, 204)
    assert attempt.outcome.address == "127.0.0.1"
    shown = attempt.request_headers
    assert shown["webhook-id"] == got.id == delivery.event_id
    assert shown["authorization"] == shown["webhook-signature"] == "…"


def test_senders_side_by_side_send_everything_once_and_keep_to_each_endpoints_limit(
    world: World,
) -> None:

    def soon(_: Got) -> Answer:
        time.sleep(0.02)
        return 204, {}

    told = [world.receiver(soon) for _ in range(3)]
    for receiver in told:
        world.webhooks.create(BY, EndpointWish(url=receiver.url, max_concurrent=3))
    running = [world.start(at_once=10), world.start(at_once=10)]
    world.tell(150)
    for deliveries in running:
        deliveries.nudge()
    for receiver in told:
        receiver.await_count(150)
    world.end()
    for receiver in told:
        assert len(receiver.ids()) == len(set(receiver.ids())) == 150
        assert receiver.most_at_once <= 3
    assert len({id_ for receiver in told for id_ in receiver.ids()}) == 150


def test_what_fails_goes_by_the_schedule_until_it_is_exhausted_and_can_be_sent_again(
    world: World,
) -> None:
    good: list[bool] = []
    receiver = world.receiver(lambda _: (204 if good else 500, {}))
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url=receiver.url))
    deliveries = world.start()
    world.tell()
    delivery = world.ended(endpoint)[0]
    assert (delivery.state, delivery.attempts) == (State.EXHAUSTED, 3)
    assert (delivery.last_status, delivery.due_at) == (500, None)
    good.append(True)
    again = world.log.redeliver(BY, delivery.id)
    assert again.state is State.PENDING
    deliveries.nudge()
    receiver.await_count(4)
    assert world.ended(endpoint)[0].state is State.SUCCEEDED
    attempts = world.log.get(BY, delivery.id).attempts
    assert [each.number for each in attempts] == [1, 2, 3, 4]
    assert [each.trigger for each in attempts] == ["scheduled"] * 3 + ["manual"]
    assert set(receiver.ids()) == {delivery.event_id}


@pytest.mark.parametrize("status", [301, 307, 404, 500])
def test_only_2xx_is_a_success(world: World, status: int) -> None:
    receiver = world.receiver(lambda got: (status, {"Location": f"http://{got.headers['host']}/"}))
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url=receiver.url))
    world.start(replace(QUICK, schedule_s=(0.0,)))
    world.tell()
    delivery = world.ended(endpoint)[0]
    assert (delivery.state, delivery.last_status) == (State.EXHAUSTED, status)
    assert len(receiver.got) == 1


def test_an_endpoint_that_is_gone_is_disabled_and_the_others_hear_of_it(world: World) -> None:
    good: list[bool] = []
    leaving = world.receiver(lambda _: (204 if good else 410, {}))
    staying = world.receiver()
    gone, _ = world.webhooks.create(BY, EndpointWish(url=leaving.url, events=("key.*",)))
    world.webhooks.create(BY, EndpointWish(url=staying.url, events=("endpoint.*",)))
    began = now()
    deliveries = world.start()
    world.tell()
    body = staying.await_count(1)[0].body
    told = json.loads(body)["data"]
    assert (told["id"], told["reason"]) == (gone.id, "gone")
    assert leaving.url.encode() not in body  # an address may be a secret
    shown, _ = world.webhooks.get(BY, gone.id)
    assert (shown.status, shown.health.disabled_reason) == ("disabled", "gone")
    world.tell(3)
    for act in (
        lambda: world.webhooks.test(BY, gone.id),
        lambda: world.webhooks.recover(BY, gone.id, began),
    ):
        with pytest.raises(Conflict, match="enabled: true"):
            act()
    good.append(True)
    world.webhooks.update(BY, gone.id, EndpointWish(enabled=True))
    assert world.webhooks.recover(BY, gone.id, began) == 3
    assert world.webhooks.recover(BY, gone.id, began) == 0
    deliveries.nudge()
    # The one that met the 410 waits for its own next attempt, or comes with them.
    got = leaving.await_count(5)
    assert sorted(json.loads(each.body)["data"]["number"] for each in got) == [0, 0, 0, 1, 2]


def test_an_endpoint_that_takes_nothing_for_too_long_is_disabled(world: World) -> None:
    receiver = world.receiver(lambda _: (500, {}))
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url=receiver.url))
    rules = DeliveryRules(
        schedule_s=(0.0, *[0.05] * 50),
        breaker_failures=3,
        breaker_s=0.05,
        longest_break_s=0.05,
        disable_after_s=0.5,
    )
    world.start(rules)
    world.tell()
    until(lambda: world.webhooks.get(BY, endpoint.id)[0].status == "disabled")
    assert world.webhooks.get(BY, endpoint.id)[0].health.disabled_reason == "failing"


def test_a_throttling_endpoint_is_left_alone_for_as_long_as_it_asks(world: World) -> None:
    first = threading.Event()

    def answer(_: Got) -> Answer:
        if first.is_set():
            return 204, {}
        first.set()
        return 429, {"Retry-After": "1"}

    receiver = world.receiver(answer)
    world.webhooks.create(BY, EndpointWish(url=receiver.url, max_concurrent=1))
    world.start()
    world.tell(5)
    got = receiver.await_count(6)
    assert got[1].at - got[0].at >= 0.95
    assert len(set(receiver.ids())) == 5


def test_a_dead_endpoint_is_probed_and_costs_the_others_nothing(world: World) -> None:
    good: list[bool] = []
    dead, alive = world.receiver(lambda _: (204 if good else 500, {})), world.receiver()
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url=dead.url))
    world.webhooks.create(BY, EndpointWish(url=alive.url))
    rules = DeliveryRules(breaker_failures=3, breaker_s=0.3, longest_break_s=0.3)
    deliveries = world.start(rules, at_once=2)
    world.tell(60)
    deliveries.nudge()
    alive.await_count(60)
    # The first ones go out together; then nothing but a probe at a time.
    seen = len(dead.got)
    assert seen < 20
    assert world.webhooks.get(BY, endpoint.id)[0].health.blocked_until is not None
    good.append(True)
    until(
        lambda: (
            len(set(dead.ids())) == 60
            or world.webhooks.get(BY, endpoint.id)[0].health.failures == 0
        )
    )
    assert world.webhooks.get(BY, endpoint.id)[0].health.blocked_until is None


def test_what_happens_while_an_endpoint_is_paused_comes_when_it_is_resumed(world: World) -> None:
    paused, running = world.receiver(), world.receiver()
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url=paused.url, paused=True))
    world.webhooks.create(BY, EndpointWish(url=running.url))
    deliveries = world.start()
    world.tell(10)
    deliveries.nudge()
    running.await_count(10)
    assert paused.got == []
    waiting = world.log.list(
        BY, before=None, limit=100, endpoint_id=endpoint.id, state=State.PENDING
    )
    assert len(waiting) == 10
    world.webhooks.update(BY, endpoint.id, EndpointWish(paused=False))
    deliveries.nudge()
    paused.await_count(10)
    assert len(set(paused.ids())) == 10


def test_both_secrets_sign_until_the_overlap_is_over(world: World) -> None:
    from svix.webhooks import Webhook, WebhookVerificationError

    receiver = world.receiver()
    endpoint, old = world.webhooks.create(BY, EndpointWish(url=receiver.url))
    _, new = world.webhooks.rotate(BY, endpoint.id, secret=None, overlap_s=3600)
    deliveries = world.start()
    world.tell()
    deliveries.nudge()
    both = receiver.await_count(1)[0]
    for secret in (old, new):
        Webhook(secret).verify(both.body, both.headers)
    _, newest = world.webhooks.rotate(BY, endpoint.id, secret=None, overlap_s=0)
    world.tell()
    deliveries.nudge()
    one = receiver.await_count(2)[1]
    Webhook(newest).verify(one.body, one.headers)
    Webhook(old).verify(one.body, one.headers)  # its hour is not over
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(one.body, one.headers)


def test_a_lease_that_is_over_is_taken_over_and_its_attempt_is_told_as_interrupted(
    world: World,
) -> None:
    receiver = world.receiver()
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url=receiver.url))
    world.tell()
    with world.database.transaction() as tx:  # as a sender that dies right after
        (lost,) = tx.deliveries.claim(limit=10, struggling=5, lease_s=0.3)
        assert tx.deliveries.claim(limit=10, struggling=5, lease_s=0.3) == []
    world.start()
    receiver.await_count(1)
    delivery = world.ended(endpoint)[0]
    first, second = world.log.get(BY, delivery.id).attempts
    assert (first.number, first.outcome) == (1, None)
    assert second.number == 2
    assert second.outcome is not None
    assert second.outcome.status == 204
    with world.database.transaction() as tx:  # the dead one comes back: nothing is its own any more
        assert tx.deliveries.renew([(lost.delivery_id, lost.epoch)], lease_s=10) == set()
        plan = Plan(State.EXHAUSTED, 1)
        late = replace(second, number=1)
        assert tx.deliveries.record([(lost, late, plan)]) == set()
    assert world.log.get(BY, delivery.id).delivery.state is State.SUCCEEDED


def set_clock_back(world: World) -> None:
    """That the database's clock was set back by an hour is the same as that its times lie an hour
    ahead."""
    hour = "+ interval '1 hour'"
    with psycopg.connect(world.database_url) as sql:
        sql.execute(
            f"update webhook_deliveries set due_at = due_at {hour}, "
            f"lease_until = lease_until {hour}"
        )
        sql.execute(
            f"update webhook_endpoints set last_turn_at = last_turn_at {hour}, "
            f"blocked_until = blocked_until {hour}"
        )


def test_what_was_to_be_tried_again_before_the_clock_was_set_back_is_tried_in_its_time(
    world: World,
) -> None:
    good: list[bool] = []
    receiver = world.receiver(lambda _: (204 if good else 500, {}))
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url=receiver.url))
    world.tell()
    # Its breaker is open, so nothing is sent but when that is over and the delivery is due.
    rules = DeliveryRules(schedule_s=(0.0, 1.0), breaker_failures=1, breaker_s=1.0)
    sender = world.start(rules)
    until(lambda: world.webhooks.get(BY, endpoint.id)[0].health.blocked_until)
    good.append(True)
    set_clock_back(world)
    sender.nudge()
    assert world.ended(endpoint)[0].state is State.SUCCEEDED


def test_a_lease_from_before_the_clock_was_set_back_is_taken_over(world: World) -> None:
    receiver = world.receiver()
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url=receiver.url, max_concurrent=1))
    world.tell(2)
    with world.database.transaction() as tx:  # by a sender that died then
        assert len(tx.deliveries.claim(limit=1, struggling=1, lease_s=1.0)) == 1
    set_clock_back(world)
    world.start()
    receiver.await_count(2)
    until(lambda: all(each.state is State.SUCCEEDED for each in world.ended(endpoint)))


def test_a_lease_that_is_good_survives_that_the_clock_was_set_back(world: World) -> None:
    receiver = world.receiver()
    world.webhooks.create(BY, EndpointWish(url=receiver.url))
    world.tell()
    with world.database.transaction() as tx:
        (claim,) = tx.deliveries.claim(limit=1, struggling=1, lease_s=10.0)
    set_clock_back(world)
    held = [(claim.delivery_id, claim.epoch)]
    with world.database.transaction() as tx:
        assert tx.deliveries.renew(held, lease_s=30.0) == {claim.delivery_id}
        tx.deliveries.rebase()
        assert not tx.deliveries.claim(limit=1, struggling=1, lease_s=10.0)
        assert tx.deliveries.renew(held, lease_s=30.0) == {claim.delivery_id}


def test_a_woken_sender_that_is_to_end_gives_back_what_it_has_not_begun(world: World) -> None:
    go_on = threading.Event()

    def slowly(_: Got) -> Answer:
        go_on.wait(10)
        return 204, {}

    receiver = world.receiver(slowly)
    world.webhooks.create(BY, EndpointWish(url=receiver.url, max_concurrent=100))
    world.tell(30)
    rules = SendingRules(at_once=2, lease_s=200.0)
    woken = Deliveries(world.database.transaction, world.sender, rules, now=now)
    left: list[bool] = []
    draining = threading.Thread(target=lambda: left.append(woken.drain(200)))
    draining.start()
    receiver.await_count(2)
    woken.stop()
    go_on.set()
    draining.join(60)
    assert left == [True]
    world.start()
    until(lambda: len(set(receiver.ids())) == 30)


def test_a_woken_sender_works_until_nothing_is_due(world: World) -> None:
    receiver = world.receiver()
    world.webhooks.create(BY, EndpointWish(url=receiver.url))
    world.tell(30)
    rules = SendingRules(rules=QUICK)
    left = Deliveries(world.database.transaction, world.sender, rules, now=now).drain(30)
    assert not left
    assert len(set(receiver.ids())) == 30
