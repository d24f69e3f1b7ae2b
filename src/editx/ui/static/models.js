// What every model is doing, live. Looking never wakes one: this only reads the status.
"use strict";

/** The status of all variants, asked for while somebody can see the page, and what it was in the last minutes. */
EditX.watching = {
  EVERY_MS: 1000,
  UNSEEN_EVERY_MS: 5000, // while another tab of the page is open, so that the chart has a past
  KEPT_S: 300,
  rows: {},
  history: new Map(),
  problem: "",
  at: 0,
  listeners: new Set(),
  _begun: false,
  _timer: 0,
  _asking: null,

  /** Call `listener` after every answer, and begin asking. */
  begin(listener) {
    this.listeners.add(listener);
    if (this._begun) return;
    this._begun = true;
    document.addEventListener("visibilitychange", () => this.ask());
    this.ask();
  },

  /** Ask now, and again and again. */
  async ask() {
    clearTimeout(this._timer);
    if (document.hidden) return;
    this._asking ??= this._fetch().finally(() => { this._asking = null; });
    await this._asking;
    clearTimeout(this._timer);
    const seen = document.querySelector(".editx-models")?.checkVisibility();
    this._timer = setTimeout(() => this.ask(), seen ? this.EVERY_MS : this.UNSEEN_EVERY_MS);
  },

  async _fetch() {
    try {
      this.rows = await EditX.ask("api/v1/models/status", { signal: AbortSignal.timeout(10_000) });
      this.at = performance.now() / 1000;
      this.problem = "";
      for (const [name, row] of Object.entries(this.rows)) this._remember(name, row);
    } catch (error) {
      this.problem = error.message;
    }
    for (const listener of this.listeners) listener();
  },

  _remember(name, row) {
    if (!this.history.has(name)) this.history.set(name, []);
    const points = this.history.get(name);
    points.push({ at: this.at, values: [row.gpu_memory_process_gb, row.ram_process_gb] });
    while (points[0].at < this.at - this.KEPT_S) points.shift();
  },
};

/** Memory as a person reads it; `gb`: 10⁹ bytes. */
EditX.memory = (gb) => (gb >= 1 || gb === 0 ? `${gb.toFixed(1)} GB` : `${Math.round(gb * 1000)} MB`);

/** The card of one variant: its `element`, `show(row)` after an answer, and `tick(row, since)` in between. */
EditX.modelCard = (name) => {
  const { h, t, memory } = EditX;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const state = h("span", { class: "editx-state", role: "status" });
  const about = h("p", { class: "editx-hint" });
  const bar = h("progress", { max: "1", "aria-label": t("models.loading"), hidden: true });
  const countdown = h("p", { class: "editx-countdown" });
  const left = h("div", { class: "editx-left", "aria-hidden": "true" }, h("span"));
  const facts = {};
  const list = h("dl", { class: "editx-facts" });
  for (const fact of ["leases", "queued", "idle", "loads", "unloads", "last_load", "pid"]) {
    facts[fact] = h("dd");
    list.append(h("div", {}, h("dt", {}, t(`models.${fact}`)), facts[fact]));
  }
  const chart = EditX.chart([{ kind: "gpu" }, { kind: "ram" }], EditX.watching.KEPT_S);
  const gpu = h("span"), ram = h("span");
  const key = (kind, text) => h("span", {}, h("i", { class: `editx-legend editx-legend-${kind}`, "aria-hidden": "true" }), text);
  const usage = h("div", {}, h("p", { class: "editx-row editx-hint" }, key("gpu", gpu), key("ram", ram)), chart.element);
  const fault = h("p", { class: "editx-failed", hidden: true });
  const problem = h("p", { class: "editx-failed", role: "alert" });
  const why = h("p", { class: "editx-why" });
  const fix = h("div", { hidden: true });
  const buttons = { load: null, unload: null };
  let pending = null, reason = null;

  const act = (what) => async () => {
    if (buttons[what].getAttribute("aria-disabled") === "true") return;
    pending = what;
    problem.textContent = "";
    show(EditX.watching.rows[name]);
    EditX.watching.ask();
    try {
      await EditX.ask(`api/v1/models/${encodeURIComponent(name)}/${what}`, { method: "POST" });
    } catch (error) {
      problem.textContent = error.message;
    }
    pending = null;
    await EditX.watching.ask();
    show(EditX.watching.rows[name]);
  };
  for (const what of Object.keys(buttons)) {
    buttons[what] = h("button", { type: "button", class: "editx-button", onclick: act(what) }, t(`models.${what}`));
  }
  const row = h("div", { class: "editx-row" }, buttons.load, buttons.unload);
  const heading = h("h2", { id: `editx-model-${name}` }, name);
  const element = h(
    "section", { class: "editx-panel", "aria-labelledby": heading.id, "data-variant": name },
    h("div", { class: "editx-row editx-head" }, heading, state), about, why, fix, bar, countdown, left, list, usage,
    fault, problem, row,
  );

  const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };

  /** The words at `key` around what the server says, which is in English. */
  const quoted = (key, field, said) => {
    const [before, after] = t(key, { [field]: "\n" }).split("\n");
    return [before, h("span", { lang: "en" }, said), after];
  };

  const sentence = (now) => {
    if (!now.available) return "unavailable";
    return now.state === "ready" && now.leases ? "busy" : now.state;
  };

  const explain = (now) => {
    if (now.reason === reason) return;
    reason = now.reason;
    const command = /`([^`]+)`/.exec(reason ?? "")?.[1];
    const plain = command ? reason.slice(0, reason.indexOf("`")).replace(/[;,][^;,]*$/, "") : reason ?? "";
    const said = EditX.translated("reason", plain);
    const whole = said ? [t("models.why", { reason: said })] : quoted("models.why", "reason", plain);
    why.replaceChildren(...(plain ? whole : []));
    fix.replaceChildren(...(command ? [h("p", { class: "editx-hint" }, t("models.fix")), EditX.copyable(command)] : []));
    fix.hidden = !command;
  };

  const show = (now) => {
    const said = sentence(now);
    element.dataset.state = said;
    write(state, t(`models.state_${said}`));
    write(about, EDITX_WORDS[`models.about_${name}`] ?? now.title);
    explain(now);
    list.hidden = usage.hidden = row.hidden = !now.available && now.state === "unloaded";
    const loading = now.state === "loading";
    bar.hidden = !loading;
    if (loading && now.load_fraction !== null) bar.value = now.load_fraction;
    else bar.removeAttribute("value");
    const able = {
      load: now.available && now.state === "unloaded",
      unload: now.state === "ready" || loading,
    };
    for (const [what, button] of Object.entries(buttons)) {
      button.setAttribute("aria-disabled", String(!able[what] || pending !== null));
      button.setAttribute("aria-busy", String(pending === what));
      write(button, t(pending === what ? `models.${what}_busy` : `models.${what}`));
    }
    write(facts.leases, String(now.leases));
    write(facts.queued, String(now.queued));
    write(facts.loads, String(now.loads));
    write(facts.unloads, String(now.unloads));
    write(facts.last_load, now.last_load_seconds === null ? "–" : EditX.duration(now.last_load_seconds, 2));
    write(facts.pid, now.pid === null ? "–" : String(now.pid));
    if (fault.dataset.said !== (now.last_error ?? "")) {
      fault.dataset.said = now.last_error ?? "";
      fault.replaceChildren(...(now.last_error ? quoted("models.last_error", "error", now.last_error) : []));
    }
    fault.hidden = !now.last_error || Boolean(problem.textContent);
    const points = EditX.watching.history.get(name) ?? [];
    const values = { gpu: memory(now.gpu_memory_process_gb), ram: memory(now.ram_process_gb) };
    const most = (i) => memory(Math.max(0, ...points.map((point) => point.values[i])));
    write(gpu, t("models.gpu", values));
    write(ram, t("models.ram", values));
    const alternative = t("models.chart", {
      ...values, gpu_most: most(0), ram_most: most(1), minutes: EditX.watching.KEPT_S / 60,
    });
    chart.show(points, EditX.watching.at, alternative, memory);
    tick(now, 0);
  };

  /** What changes between two answers; `since`: seconds since the last one. */
  const tick = (now, since) => {
    const clock = (seconds) => EditX.duration(calm.matches && seconds < 60 ? Math.ceil(seconds) : seconds);
    const idle = now.state === "ready" && !now.leases;
    const until = idle && now.time_until_unload !== null ? Math.max(0, now.time_until_unload - since) : null;
    write(facts.idle, idle ? clock(now.idle_time + since) : "–");
    let said = "";
    if (until !== null) said = t("models.unloads_in", { time: clock(until) });
    else if (idle) said = t("models.stays");
    else if (now.state === "ready") said = t("models.in_use");
    else if (now.state === "loading") said = t("models.loading_for", { time: clock((now.load_seconds ?? 0) + since) });
    else if (now.retry_in) said = t("models.backing_off", { time: clock(Math.max(0, now.retry_in - since)), n: now.crashes });
    else if (now.available && now.state === "unloaded") said = t("models.wakes");
    write(countdown, said);
    element.dataset.left = until === null ? "" : until.toFixed(2);
    left.hidden = until === null || !now.idle_timeout;
    if (!left.hidden) left.firstChild.style.transform = `scaleX(${Math.min(1, until / now.idle_timeout)})`;
  };
  return { element, show, tick };
};

/** The cards of all variants in `box`. */
EditX.models = (box) => {
  const { h, watching } = EditX;
  const TICK_MS = 100;
  const problem = h("p", { class: "editx-failed", role: "alert" });
  const grid = h("div", { class: "editx-grid" });
  const cards = new Map();
  box.append(problem, grid);

  const show = () => {
    if (!box.isConnected) { // the tab was built anew
      clearInterval(ticking);
      watching.listeners.delete(show);
      return;
    }
    grid.classList.toggle("editx-stale", Boolean(watching.problem));
    if (problem.textContent !== watching.problem) problem.textContent = watching.problem;
    const usableFirst = Object.entries(watching.rows).sort(([, a], [, b]) => b.available - a.available);
    for (const [name, row] of usableFirst) {
      if (!cards.has(name)) {
        cards.set(name, EditX.modelCard(name));
        grid.append(cards.get(name).element);
      }
      cards.get(name).show(row);
    }
  };
  const tick = () => {
    if (!box.checkVisibility() || watching.problem) return;
    const since = performance.now() / 1000 - watching.at;
    for (const [name, card] of cards) card.tick(watching.rows[name], since);
  };
  const ticking = setInterval(tick, TICK_MS);
  if (watching.at) show();
  watching.begin(show);
};
addEventListener("load", () => EditX.watching.begin(() => {}));
