"""The page of a challenge in a real browser, with the network off: nothing is asked for, no error is said."""

from __future__ import annotations


def test_it_opens_without_network_or_errors_on_every_screen(visit, text, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(text, encoding="utf-8")
    for width, scheme in ((1280, "light"), (400, "dark")):
        page = visit(path, viewport={"width": width, "height": 800}, color_scheme=scheme)
        assert page.title() == "muon against adamw, sam"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (
            "the page itself does not scroll sideways"
        )
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 22, 28)"}[scheme], "the styles are in force"
        drawn = page.locator("#curves img, #tuning img").evaluate_all("all => all.map(one => one.naturalWidth > 100)")
        assert drawn == [True, True, True]
        assert page.locator("#differences svg .seed >> nth=0").evaluate("dot => dot.getBoundingClientRect().width") > 3
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the verdict"
    page.locator("#tuning summary >> nth=0").focus()
    page.keyboard.press("Enter")
    page.get_by_role("cell", name="0.7031 (chosen)").wait_for(state="visible")
    page.emulate_media(media="print")
    assert page.locator("#repeat details code").is_visible(), "in print nothing is folded away"
