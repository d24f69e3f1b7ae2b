// Progress of a take, and its sound: played while it is made, kept to be played again.
"use strict";

/** Show in `box` what `value()` says, now and whenever `watch` tells of a change. See takes.py for the values. */
EditX.player = (box, value, watch) => {
  const { h, t } = EditX;
  const status = h("p", { class: "editx-status", role: "status" });
  const bar = h("progress", { max: "1", "aria-label": t("clone.result"), hidden: true });
  const audio = h("audio", { controls: true, preload: "auto", "aria-label": t("player.sound"), hidden: true });
  const canvas = h("canvas", { class: "editx-wave", role: "img", "aria-label": t("player.waveform"), hidden: true });
  const details = h("p", { class: "editx-hint" });
  const download = h("a", { class: "editx-link", hidden: true }, t("player.download"));
  box.append(status, bar, audio, canvas, h("div", { class: "editx-row" }, details, download));
  let live = null; // what is played while it is made
  let made = null; // what is shown as done
  let next = null; // what is put in place of what plays now, once that has ended
  audio.addEventListener("ended", () => {
    if (next) audio.src = next;
    next = null;
  });

  const stages = {
    loading: "player.waking", preprocessing: "player.reading", generation: "player.generating",
    decoding: "player.decoding",
  };
  const sentence = (now) => {
    if (now.state === "empty") return t("player.empty");
    if (now.state === "queued") return now.position ? t("player.queued", now) : t("player.next");
    if (now.state === "waking") return `${t("player.waking")}…`;
    if (now.state === "cancelled") return t(now.cut ? "player.cut" : "player.cancelled");
    if (now.state === "failed") return now.message;
    if (now.state === "done") return t("player.done", { seconds: now.seconds, work: now.timings.total });
    const parts = [t(stages[now.stage] ?? "player.generating")];
    if (now.steps > 1) parts.push(t("player.step", now));
    const made = now.seconds ?? now.made;
    if (made) parts.push(t("player.made", { seconds: made.toFixed(1) }));
    return `${parts.join(" · ")}…`;
  };

  const play = (url) => {
    audio.src = url;
    audio.hidden = false;
    audio.play().catch(() => {}); // a browser may want a click first; the controls are there
  };

  const draw = async (url) => {
    try {
      const sound = await EditX.decode(url);
      canvas.hidden = false;
      EditX.waveform(canvas, sound);
    } catch {
      canvas.hidden = true;
    }
  };

  /** Silent, and nothing to be heard. */
  const reset = () => {
    audio.pause();
    live = made = next = null;
    audio.hidden = canvas.hidden = download.hidden = true;
    details.textContent = "";
  };

  /** Put the finished sound in place; what is playing plays on, and what was paused stays so. */
  const finish = (now) => {
    made = now.sound;
    const heard = live && live === now.live && !audio.error;
    if (!heard) play(made);
    else if (audio.ended || (audio.paused && !audio.currentTime)) audio.src = made;
    else next = made;
    live = null;
    audio.hidden = download.hidden = false;
    audio.dataset.sound = made;
    download.href = `${made}?download=editx.wav`;
    details.textContent = t("player.details", now);
    draw(made);
  };

  let before = "";
  const show = () => {
    let now = value();
    if (now.state === "empty" && EditX.wasCut(box)) now = { state: "cancelled", cut: true };
    else EditX.forget("cut");
    const busy = ["queued", "waking", "working"].includes(now.state);
    box.dataset.state = now.state;
    box.dataset.stage = now.stage ?? "";
    box.setAttribute("aria-busy", String(busy));
    const said = sentence(now);
    if (status.textContent !== said) status.textContent = said;
    status.classList.toggle("editx-failed", now.state === "failed");
    bar.hidden = !busy;
    if (typeof now.fraction === "number") bar.value = now.fraction;
    else bar.removeAttribute("value");
    if ((busy && !now.live) || now.state === "empty" || (live && (now.state === "cancelled" || now.state === "failed"))) reset();
    if (busy && now.live && now.live !== live) {
      live = now.live;
      play(live);
    }
    if (now.state === "done" && now.sound !== made) finish(now);
    EditX.ready(box);
    if (now.state !== before && (busy || now.state === "failed") && box.checkVisibility()) box.scrollIntoView({ block: "nearest" });
    before = now.state;
  };
  new ResizeObserver(() => { if (!canvas.hidden && audio.dataset.sound) draw(audio.dataset.sound); }).observe(canvas);
  show();
  watch("value", show);
};
