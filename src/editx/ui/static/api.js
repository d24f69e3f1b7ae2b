// The calls that do what the page does, ready to copy.
"use strict";

/** Show in `box` the calls of `value()`, now and whenever `watch` tells of a change. See api.py for the value. */
EditX.calls = (box, value, watch) => {
  const { h, t } = EditX;
  const problem = h("p", { class: "editx-failed", role: "alert", hidden: true });
  const keyed = h("p", { class: "editx-hint", hidden: true }, t("api.keyed"));
  box.append(problem, keyed);
  const sections = {};
  for (const name of ["curl", "python", "cli"]) {
    const code = EditX.copyable("", t(`api.${name}`));
    const partial = h("p", { class: "editx-hint", hidden: true }, t("api.no_sampling"));
    sections[name] = { code: code.querySelector("code"), partial };
    sections[name].box = h("section", { hidden: true }, h("h2", {}, t(`api.${name}`)), partial, code);
    box.append(sections[name].box);
  }

  const show = () => {
    const now = value();
    problem.hidden = !now.problem;
    problem.textContent = now.problem ?? "";
    keyed.hidden = !now.keyed;
    for (const { box: section } of Object.values(sections)) section.hidden = true;
    for (const call of now.calls) {
      const section = sections[call.name];
      section.box.hidden = false;
      section.partial.hidden = !call.partial;
      if (section.code.textContent !== call.text) section.code.textContent = call.text;
    }
    box.dataset.shown = String(now.calls.length);
  };
  show();
  watch("value", show);
};
