"""What the other tests hold when they end can be broken: each way to disagree is found out."""

import pytest
from playwright.async_api import Browser, expect

from tests.browser import agreement
from tests.browser.agreement import agree
from tests.browser.shop import Shop, open_hub

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SECOND_SOCKET = """
  const { BellhubClient } = await import("/static/client.js");
  const getToken = async () => (await (await fetch("/token")).text()).trim();
  window.client = new BellhubClient({ apiKey: bell.getAttribute("api-key"), channel: "inbox", tabs: false, getToken });
  const connected = new Promise((go) => client.subscribe(() => client.getSnapshot().cursor && go()));
  client.connect();
  await connected;"""
HARMS = {
    "bell.shadowRoot.querySelector('.badge').textContent = '7'": r"are \['7', False\], by REST \['2', False\]",
    "bell.shadowRoot.querySelector('.badge').hidden = true": r"are \[None, False\], by REST \['2', False\]",
    "bell.shadowRoot.querySelector('li').remove()": "list all shows",
    "bell.current.close()": "closed, 0 marks not sent",
    SECOND_SOCKET: "2 sockets of ann-.* on 1 browsers",
    "bell.remove()": "no page shows a feed",
}


async def test_whatever_disagrees_is_found_out(browser: Browser, ann: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_hub() as hub:
        shop = await Shop.open(hub, browser, ann)
        await shop.send("one", "two")
        for harm, found in HARMS.items():
            await shop.visit()
            await shop.hide(True)  # so that nothing is seen
            await shop.open_panel()
            await expect(shop.rows).to_have_count(2)
            await agree(hub, ann, [shop.context])
            await shop.element.evaluate(f"async (bell) => {{ {harm} }}")
            with monkeypatch.context() as patch:
                patch.setattr(agreement, "PATIENCE_S", 0)
                with pytest.raises(AssertionError, match=found):
                    await agree(hub, ann, [shop.context])
        await shop.context.close()
