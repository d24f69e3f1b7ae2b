// The voice library: players, and new names and ends for voices that were added.
"use strict";

/** A sentence and what to be warned of: {text, warnings, failed}. */
EditX.note = (box, value, watch) => {
  const { h } = EditX;
  const text = h("p", { role: "status" });
  const warnings = h("ul", { class: "editx-warnings" });
  box.append(text, warnings);
  const show = () => {
    const now = value();
    text.textContent = now.text;
    text.classList.toggle("editx-failed", now.failed);
    warnings.replaceChildren(...now.warnings.map((warning) => h("li", {}, warning)));
  };
  show();
  watch("value", show);
};

/** The panel of one voice: its `element`, `show(voice)`; `changed(what, voice)` is called after a rename or an end. */
EditX.voicePanel = (changed) => {
  const { h, t } = EditX;
  let voice = null, shown = "";
  const heading = h("h3");
  const badge = h("span", { class: "editx-state" }, t("voices.builtin"));
  const about = h("p");
  const facts = h("p", { class: "editx-hint" });
  const audio = h("audio", { controls: true, preload: "none" });
  const words = h("p");
  const transcript = h("details", {}, h("summary", {}, t("voices.transcript")), words);
  const warnings = h("ul", { class: "editx-warnings" });
  const problem = h("p", { class: "editx-failed", role: "alert" });
  const button = (key, onclick, look = "") =>
    h("button", { type: "button", class: `editx-button ${look}`, onclick }, t(key));

  const ask = async (method, body) => {
    problem.textContent = "";
    try {
      return await EditX.ask(`v1/voices/${encodeURIComponent(voice.name)}`, {
        method, body: body && JSON.stringify(body), headers: body && { "Content-Type": "application/json" },
      });
    } catch (error) {
      problem.textContent = error.message;
      return null;
    }
  };

  const rename = button("voices.rename", () => open(form, field));
  const remove = button("voices.delete", () => open(confirm, keep));
  const actions = h("div", { class: "editx-row editx-actions" }, rename, remove);

  const field = h("input", { maxlength: "64", autocomplete: "off", required: true });
  const label = h("span");
  const form = h(
    "form", { hidden: true }, h("label", {}, label, field),
    h("div", { class: "editx-row" }, h("button", { class: "editx-button" }, t("voices.save_name")),
      button("voices.cancel", () => close(rename))),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const old = voice.name;
    const answer = await ask("PATCH", { name: field.value.trim() });
    if (!answer) return field.focus();
    show({ ...voice, name: answer.name, title: answer.title });
    close(rename);
    changed("renamed", { old, name: answer.name });
  });

  const question = h("p");
  const keep = button("voices.keep", () => close(remove));
  const confirm = h(
    "div", { class: "editx-confirm", role: "group", hidden: true }, question,
    h("div", { class: "editx-row" }, button("voices.delete", async () => {
      if (await ask("DELETE")) changed("deleted", { name: voice.name });
    }, "editx-danger"), keep),
  );

  const open = (part, first) => {
    problem.textContent = "";
    field.value = voice.name;
    actions.hidden = true;
    part.hidden = false;
    first.focus();
    if (first === field) field.select();
  };
  const close = (next) => {
    problem.textContent = "";
    actions.hidden = false;
    form.hidden = confirm.hidden = true;
    next.focus();
  };

  const element = h(
    "li", { class: "editx-panel" }, h("div", { class: "editx-row editx-head" }, heading, badge), about, facts, audio,
    transcript, warnings, form, confirm, problem, actions,
  );
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !actions.hidden || voice.builtin) return;
    close(form.hidden ? remove : rename);
  });

  const show = (now) => {
    voice = now;
    if (shown === JSON.stringify(now)) return;
    shown = JSON.stringify(now);
    const { name } = now;
    element.dataset.voice = name;
    heading.textContent = name;
    badge.hidden = !now.builtin;
    const named = now.title.toLowerCase().startsWith(name.toLowerCase());
    const title = named ? now.title.slice(name.length).trim() : now.title;
    about.textContent = [title, now.description].filter(Boolean).join(" · ");
    facts.textContent = [now.locale, EditX.duration(now.seconds)].filter(Boolean).join(" · ");
    const source = `v1/voices/${encodeURIComponent(name)}/audio?${now.version}`;
    if (audio.getAttribute("src") !== source) audio.setAttribute("src", source);
    audio.setAttribute("aria-label", t("voices.sound", now));
    words.textContent = now.transcript;
    words.lang = now.locale ?? "";
    warnings.replaceChildren(...now.warnings.map((warning) => h("li", {}, warning)));
    label.textContent = t("voices.new_name", now);
    question.textContent = t("voices.really", now);
    confirm.setAttribute("aria-label", t("voices.delete_it", now));
    rename.setAttribute("aria-label", t("voices.rename_it", now));
    remove.setAttribute("aria-label", t("voices.delete_it", now));
    if (now.builtin) actions.hidden = true;
  };
  return { element, show };
};

/** All voices in `box`; `trigger` tells the server's side of the page that names have changed. */
EditX.voices = (box, value, watch, trigger) => {
  const { h, t } = EditX;
  const heading = h("h2", { tabindex: "-1" }, t("voices.library"));
  const count = h("span", { class: "editx-hint" });
  const said = h("p", { class: "editx-hint", role: "status" });
  const list = h("ul", { class: "editx-grid" });
  const panels = new Map();
  box.append(h("div", { class: "editx-row" }, heading, count), said, list);

  const changed = (what, names) => {
    said.textContent = t(`voices.${what}`, names);
    const old = names.old ?? names.name;
    const panel = panels.get(old);
    panels.delete(old);
    if (what === "renamed") panels.set(names.name, panel);
    else {
      panel.element.remove();
      heading.focus();
    }
    trigger("apply", names);
  };

  const show = () => {
    const { voices } = value();
    const names = new Set(voices.map(({ name }) => name));
    for (const [name, panel] of panels) {
      if (names.has(name)) continue;
      panel.element.remove();
      panels.delete(name);
    }
    const focused = document.activeElement;
    voices.forEach((voice, i) => {
      let panel = panels.get(voice.name);
      if (!panel) {
        panel = EditX.voicePanel(changed);
        panels.set(voice.name, panel);
      }
      panel.show(voice);
      if (list.children[i] !== panel.element) list.insertBefore(panel.element, list.children[i] ?? null);
    });
    if (list.contains(focused)) focused.focus({ preventScroll: true }); // what moves in the page loses it
    count.textContent = voices.length ? t("voices.count", { count: voices.length }) : "";
  };
  show();
  watch("value", show);
};
