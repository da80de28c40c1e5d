// Layers above the photograph: lesions (dashed where they do not count), what lies on the camera's spots, and
// marks of disc and fovea. Switch, fade, light up.
"use strict";

report.layers = (() => {
  const stage = document.getElementById("stage");
  const sheet = document.getElementById("sheet");
  const fade = document.getElementById("fade");
  const faint = 25;
  const entries = Array.from(document.querySelectorAll(".layers [data-lesion]"), (row) => ({
    row,
    code: row.dataset.lesion,
    model: row.querySelector(".switch:not(.truth) input"),
    truth: row.querySelector(".truth input"),
    has: {}, // layers by kind
    pictures: {}, // those of them that were fetched
  }));
  const kinds = ["possible", "model", "truth"]; // the first lies lowest
  const camera = document.getElementById("layer-camera");
  const possible = document.getElementById("layer-possible");
  const marks = document.getElementById("layer-marks");
  const drawn = document.getElementById("marked");
  let cameraPicture = null;
  let folder = ""; // of the photograph's pictures
  let pinned = null; // the line of evidence that stays lit

  const picture = (file, kind) => {
    const image = new Image();
    image.decoding = "async";
    image.draggable = false;
    image.alt = "";
    image.className = kind;
    image.src = file;
    sheet.append(image);
    return image;
  };

  // A layer is fetched when it is first asked for.
  const fetched = (entry, kind) => {
    if (entry.has[kind] && !entry.pictures[kind]) {
      const prefix = kind === "model" ? "" : `${kind}-`;
      entry.pictures[kind] = picture(`${folder}/${prefix}${entry.code}.png`, `layer ${kind}`);
    }
    return entry.pictures[kind];
  };

  // A ring around the disc, a cross on the fovea; places are shares of the picture's side.
  const mark = ({ disc, fovea }) => {
    for (const ring of drawn.querySelectorAll("circle")) {
      const [x, y, diameter] = disc || [0, 0, 0];
      ring.setAttribute("transform", `translate(${x} ${y})`);
      ring.setAttribute("r", disc ? diameter / 2 || 0.01 : 0);
    }
    for (const cross of drawn.querySelectorAll("path")) {
      const [x, y] = fovea || [-1, -1]; // out of the picture
      cross.setAttribute("transform", `translate(${x} ${y})`);
    }
    sheet.append(drawn);
  };

  const show = () => {
    for (const entry of entries) {
      const on = {
        possible: entry.model.checked && possible.checked,
        model: entry.model.checked,
        truth: entry.truth.checked,
      };
      for (const kind of kinds) {
        if (on[kind]) fetched(entry, kind);
        entry.pictures[kind]?.classList.toggle("on", on[kind]);
      }
    }
    cameraPicture?.classList.toggle("on", camera.checked);
    drawn.classList.toggle("on", marks.checked);
    stage.style.setProperty("--fade", fade.value / 100);
  };

  const open = (name, pictures, places) => {
    folder = `photographs/${name}`;
    sheet.replaceChildren();
    pin(null);
    if (pictures) picture(`${folder}/photograph.jpg`, "photograph").alt = "The photograph";
    camera.disabled = !pictures?.camera;
    camera.checked = !camera.disabled;
    cameraPicture = camera.checked ? picture(`${folder}/camera.png`, "layer camera") : null; // below all others
    possible.disabled = !pictures?.possible.length;
    possible.checked = !possible.disabled;
    marks.disabled = !pictures || !Object.keys(places).length;
    marks.checked = false;
    mark(places);
    for (const entry of entries) {
      entry.pictures = {};
      entry.has = {
        possible: pictures?.possible.includes(entry.code),
        model: pictures?.layers.includes(entry.code),
        truth: pictures?.truth.includes(entry.code),
      };
      entry.model.disabled = !entry.has.model && !entry.has.possible;
      entry.truth.disabled = !entry.has.truth;
      entry.model.checked = !entry.model.disabled;
      entry.truth.checked = false;
    }
    document.getElementById("detail").classList.toggle("with-truth", Boolean(pictures?.annotated.length));
    show();
  };

  // What is lit is shown in full, switched on or not; all else steps back.
  const light = (codes) => {
    const lit = entries.filter((entry) => codes.includes(entry.code) && !entry.model.disabled);
    stage.classList.toggle("lit", lit.length > 0);
    for (const entry of entries) {
      const on = lit.includes(entry);
      for (const kind of ["possible", "model"]) {
        if (on) fetched(entry, kind);
        entry.pictures[kind]?.classList.toggle("lit", on);
      }
      entry.row.classList.toggle("lit", on);
    }
  };

  const codesOf = (line) => (line ? line.dataset.lesions.split(" ") : []);

  const pin = (line) => {
    pinned?.setAttribute("aria-pressed", "false");
    pinned = line === pinned ? null : line;
    pinned?.setAttribute("aria-pressed", "true");
    light(codesOf(pinned));
  };

  const follow = (line) => {
    line.addEventListener("pointerenter", () => light(codesOf(line)));
    line.addEventListener("pointerleave", () => light(codesOf(pinned)));
    line.addEventListener("focus", () => light(codesOf(line)));
    line.addEventListener("blur", () => light(codesOf(pinned)));
    line.addEventListener("click", () => pin(line));
  };

  const toggle = (box) => {
    if (box && !box.disabled) box.checked = !box.checked;
    show();
  };

  const toggleAll = (kind) => {
    const boxes = entries.map((entry) => entry[kind]).filter((box) => !box.disabled);
    const on = !boxes.some((box) => box.checked);
    for (const box of boxes) box.checked = on;
    show();
  };

  const toggleFade = () => {
    fade.value = Number(fade.value) > faint ? faint : 100;
    show();
  };

  fade.addEventListener("input", show);
  for (const box of [camera, possible, marks]) box.addEventListener("change", show);
  for (const entry of entries) {
    entry.model.addEventListener("change", show);
    entry.truth.addEventListener("change", show);
  }

  return {
    open,
    follow,
    toggleFade,
    toggleAll,
    toggle: (number) => toggle(entries[number - 1]?.model),
    toggleCamera: () => toggle(camera),
    togglePossible: () => toggle(possible),
    toggleMarks: () => toggle(marks),
  };
})();
