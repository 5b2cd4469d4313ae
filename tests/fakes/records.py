"""One exchange as it is told."""

from appliance.domain.calls import Usage
from appliance.observe.log import ExchangeRecord

RECORD = ExchangeRecord(
    request_id="r1",
    key="team",
    model="m",
    operation="chat",
    target="b/m",
    engine="vllm",
    status=200,
    outcome="ok",
    error_code="",
    stream=True,
    usage=Usage(9, 4, 2),
    ttft_s=None,
    duration_s=1.5,
    bytes_out=100,
    peer="10.0.0.1",
)
