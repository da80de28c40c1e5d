// Layers of lesions, and of what lies on the camera's spots, above the photograph: switch, fade, light up.
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
  }));
  const camera = document.getElementById("layer-camera");
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

  // A truth layer is fetched when it is first asked for.
  const show = () => {
    for (const entry of entries) {
      for (const [kind, box] of [["model", entry.model], ["truth", entry.truth]]) {
        if (box.checked && !entry[`${kind}Picture`]) {
          const name = kind === "truth" ? `truth-${entry.code}` : entry.code;
          entry[`${kind}Picture`] = picture(`${folder}/${name}.png`, `layer ${kind}`);
        }
        entry[`${kind}Picture`]?.classList.toggle("on", box.checked);
      }
    }
    cameraPicture?.classList.toggle("on", camera.checked);
    stage.style.setProperty("--fade", fade.value / 100);
  };

  const open = (name, pictures) => {
    folder = `photographs/${name}`;
    sheet.replaceChildren();
    pin(null);
    if (pictures) picture(`${folder}/photograph.jpg`, "photograph").alt = "The photograph";
    camera.disabled = !pictures?.camera;
    camera.checked = !camera.disabled;
    cameraPicture = camera.checked ? picture(`${folder}/camera.png`, "layer camera") : null; // below all others
    for (const entry of entries) {
      entry.modelPicture = null;
      entry.truthPicture = null;
      entry.model.disabled = !pictures?.layers.includes(entry.code);
      entry.truth.disabled = !pictures?.truth.includes(entry.code);
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
      if (on && !entry.modelPicture) {
        entry.modelPicture = picture(`${folder}/${entry.code}.png`, "layer model");
      }
      entry.modelPicture?.classList.toggle("lit", on);
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
  camera.addEventListener("change", show);
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
  };
})();
