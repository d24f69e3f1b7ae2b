// The strip of cards of the Edit tab: every recording and everything made of it.
"use strict";

/** What a card is called: "2 · Emotion: Happy". */
EditX.cardName = (card) => {
  const { t } = EditX;
  if (!card.type) return `${card.number} · ${t(`edit.origin_${card.origin}`)}`;
  const kind = t(`edit.${card.type}`);
  return `${card.number} · ${card.info ? t("edit.with_option", { kind, option: t(`${card.type}.${card.info}`) }) : kind}`;
};

/** Show in `box` the desk that `value()` describes (see edit.py); `trigger` tells of a chosen card, or of none left. */
EditX.cards = (box, value, watch, trigger) => {
  const { h, t } = EditX;
  const had = "editx-had-cards";
  const note = h("p", { class: "editx-hint", role: "status" });
  const all = h("a", { class: "editx-link", download: "editx.zip" }, t("edit.download_all"));
  const clear = h("button", { type: "button", class: "editx-button", onclick: () => {
    if (!confirm(t("edit.clear_question"))) return;
    sessionStorage.removeItem(had);
    EditX.forget("edit");
    trigger("clear");
  } }, t("edit.clear"));
  const strip = h("ol", { class: "editx-strip" });
  const compared = h("section", { class: "editx-compare", "aria-label": t("edit.comparison"), hidden: true });
  const head = h("div", { class: "editx-row" }, h("h2", {}, t("edit.cards")), note, all, clear);
  box.append(head, strip, compared);
  const comparison = EditX.comparison(compared);
  const shown = new Map(); // a card's element by its sound, which is never another card's
  let picked = [];

  const draw = async (canvas, url) => {
    try {
      EditX.waveform(canvas, await EditX.decode(url));
    } catch {
      canvas.hidden = true;
    }
  };

  const compare = () => {
    const cards = picked.map((sound) => value().cards.find((card) => card.sound === sound));
    for (const [sound, item] of shown) item.querySelector("input").checked = picked.includes(sound);
    compared.hidden = cards.length !== 2;
    if (cards.length === 2) comparison.show(...cards.sort((one, other) => one.number - other.number));
    say();
  };

  const pick = (sound, on) => {
    picked = picked.filter((other) => other !== sound);
    if (on) picked = [...picked, sound].slice(-2);
    compare();
  };

  const make = (card) => {
    const name = EditX.cardName(card);
    const canvas = h("canvas", { class: "editx-wave", role: "img", "aria-label": t("edit.waveform_of", { name }) });
    const audio = h("audio", { controls: true, preload: "metadata", src: card.sound, "aria-label": t("edit.sound_of", { name }) });
    const choose = h("button", { type: "button", class: "editx-button", onclick: () => trigger("select", { number: card.number }) });
    const check = h("input", { type: "checkbox", "aria-label": `${t("edit.compare")}: ${name}`, onchange: (event) => pick(card.sound, event.target.checked) });
    const item = h("li", { class: "editx-take", "data-card": card.number, "aria-label": name },
      h("h3", {}, name), h("p", { class: "editx-hint" }), h("p", { class: "editx-take-text" }), canvas, audio,
      h("div", { class: "editx-row" }, choose, h("label", {}, check, t("edit.compare")),
        h("a", { class: "editx-link", href: `${card.sound}?download=${card.file}`, "aria-label": t("edit.download_of", { name }) },
          t("player.download"))));
    new ResizeObserver(() => draw(canvas, card.sound)).observe(canvas);
    return item;
  };

  const refresh = (item, card, chosen) => {
    const facts = [card.parent === null ? null : t("edit.from", { number: card.parent }), EditX.duration(card.seconds)];
    if (card.seed) facts.push(t("player.details", card));
    item.querySelector(".editx-hint").textContent = facts.filter(Boolean).join(" · ");
    const text = item.querySelector(".editx-take-text");
    text.textContent = card.transcript || t("edit.no_transcript");
    text.title = card.transcript;
    const choose = item.querySelector("button");
    choose.textContent = t(chosen ? "edit.chosen" : "edit.choose");
    choose.setAttribute("aria-pressed", String(chosen));
    choose.setAttribute("aria-label", `${choose.textContent}: ${EditX.cardName(card)}`);
    item.toggleAttribute("data-chosen", chosen);
  };

  const say = () => {
    const { cards } = value();
    const said = cards.length ? t(picked.length === 1 ? "edit.one_more" : "edit.cards_hint")
      : t(sessionStorage.getItem(had) ? "edit.expired" : "edit.no_cards");
    if (note.textContent !== said) note.textContent = said;
  };

  const show = () => {
    const { desk, cards, chosen } = value();
    if (!desk) return; // the server has not said yet what lies here
    if (cards.length) sessionStorage.setItem(had, "yes");
    all.hidden = clear.hidden = strip.hidden = !cards.length;
    all.href = `page/desks/${desk}.zip`;
    const sounds = new Set(cards.map((card) => card.sound));
    for (const [sound, item] of shown) {
      if (!sounds.has(sound)) { item.remove(); shown.delete(sound); }
    }
    for (const card of cards) {
      const isNew = !shown.has(card.sound);
      if (isNew) { shown.set(card.sound, make(card)); strip.append(shown.get(card.sound)); }
      refresh(shown.get(card.sound), card, card.number === chosen);
      if (isNew && card.number === chosen) strip.scrollLeft = strip.scrollWidth;
    }
    picked = picked.filter((sound) => sounds.has(sound));
    compare();
  };
  new MutationObserver(() => shown.forEach((item, sound) => draw(item.querySelector("canvas"), sound)))
    .observe(document.body, { attributes: true, attributeFilter: ["class"] }); // light became dark
  show();
  watch("value", show);
};
