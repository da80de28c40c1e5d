// One photograph: loads its reading and says in words and numbers what is in it.
"use strict";

report.detail = (() => {
  const find = (id) => document.getElementById(id);
  const received = new Map();
  let current = null;

  const percent = (share) => {
    const value = share * 100;
    if (value > 0 && value < 0.01) return "< 0.01 %";
    return `${value.toFixed(value < 10 ? 2 : 1)} %`;
  };

  const element = (kind, text, style = "") => {
    const made = document.createElement(kind);
    made.textContent = text;
    made.className = style;
    return made;
  };

  const showVerdict = (reading) => {
    const grade = find("grade");
    const graded = reading.grade !== null;
    const word = { error: "Error", ungradable: "Ungradable", read: "No grade" }[reading.state];
    grade.textContent = graded ? `DR${reading.grade}` : word;
    grade.className = graded ? `dr dr${reading.grade}` : `dr ${reading.state}`;
    const bar = document.querySelector(`.bars [data-grade="${reading.grade}"]`);
    find("grade-name").textContent = bar ? bar.title : "";
    const refer = find("refer");
    refer.replaceChildren();
    if (reading.referable === null) return;
    refer.append(
      element("span", reading.referable ? "refer" : "no referral", `chip ${reading.referable ? "refer" : "calm"}`),
    );
    const unread = "what cannot be read is referred, never called healthy";
    refer.append(element("span", reading.state === "ungradable" ? unread : reading.referable_reason, "text"));
  };

  const showProbabilities = (reading) => {
    const values = reading.grade_probabilities;
    find("probabilities").hidden = !values.length;
    document.querySelectorAll(".bars [data-grade]").forEach((bar, grade) => {
      const value = values[grade] || 0;
      bar.classList.toggle("chosen", grade === reading.grade);
      bar.classList.toggle("reference", grade === reading.truth_grade);
      bar.querySelector("i").style.width = `${value * 100}%`;
      bar.querySelector(".number").textContent = `${Math.round(value * 100)} %`;
    });
    const known = reading.truth_grade !== null;
    find("reference").textContent = known ? `Reference grade: DR${reading.truth_grade}` : "";
  };

  const line = (said, reading) => {
    const lights = said.lesions.filter((code) => reading.pictures?.layers.includes(code));
    const item = document.createElement("li");
    const body = document.createElement(lights.length ? "button" : "div");
    body.className = `line ${said.role.replaceAll(" ", "-")}`;
    if (lights.length) {
      body.type = "button";
      body.dataset.lesions = lights.join(" ");
      body.setAttribute("aria-pressed", "false");
      report.layers.follow(body);
    }
    const swatches = element("span", "", "swatches");
    for (const code of lights) {
      const swatch = element("i", "", "swatch");
      swatch.style.setProperty("--colour", `var(--${code})`);
      swatches.append(swatch);
    }
    body.append(element("span", said.text, "text"), swatches);
    item.append(body);
    return item;
  };

  const showEvidence = (reading) => {
    find("evidence").hidden = !reading.evidence.length && !reading.agreement_text;
    const agreement = find("agreement");
    agreement.replaceChildren(
      element("span", reading.sign, "sign"),
      element("span", reading.agreement_text || reading.agreement, "text"),
    );
    find("lines").replaceChildren(...reading.evidence.map((said) => line(said, reading)));
  };

  const showCamera = (reading) => {
    const found = Object.entries(reading.camera);
    find("camera").hidden = !found.length;
    const told = found.map(([code, { count, spots }]) => {
      const numbers = `spot${spots.length === 1 ? "" : "s"}\u00a0${spots.join(", ")}`;
      return `${count}\u00a0${code}${spots.length ? ` (${numbers})` : ""}`;
    });
    find("camera").querySelector("span").textContent = `On the camera's own spots, not counted: ${told.join(", ")}`;
  };

  const showLesions = (reading) => {
    const pictures = reading.pictures;
    const asides = Object.keys(reading.camera).length;
    const anything = reading.state === "read" || reading.present.length || asides || pictures?.annotated.length;
    find("lesions").hidden = !pictures || !anything;
    const unlearned = [];
    for (const row of document.querySelectorAll(".layers [data-lesion]")) {
      const code = row.dataset.lesion;
      const learned = reading.learned.includes(code);
      const found = reading.lesions[code];
      const marked = pictures?.truth.includes(code);
      const asked = pictures?.annotated.includes(code);
      const amount = row.querySelector(".amount");
      const unread = reading.state === "read" ? "none" : "–";
      amount.textContent = found ? `${found.count} · ${percent(found.share)}` : learned ? unread : "not learned";
      amount.title = found ? `${found.pixels} pixels` : "";
      row.querySelector(".truth .quiet").textContent = marked ? "" : asked ? "none" : "–";
      row.classList.toggle("absent", !found);
      row.hidden = !learned && !asked;
      if (!learned) unlearned.push(row.querySelector("label span").textContent);
    }
    find("unlearned").textContent = unlearned.length ? `Not learned by this model: ${unlearned.join(", ")}.` : "";
  };

  const showProblems = (reading) => {
    find("error").hidden = !reading.error;
    find("error").querySelector("p").textContent = reading.error;
    const reasons = reading.state === "ungradable" ? reading.quality.reasons : [];
    find("quality").hidden = !reasons.length;
    find("quality").querySelector("ul").replaceChildren(...reasons.map((reason) => element("li", reason)));
    const unseen = find("unseen");
    unseen.hidden = Boolean(reading.pictures);
    unseen.textContent = reading.error ? "This photograph could not be read." : "No picture of it in this report.";
    find("stage").classList.toggle("empty", !reading.pictures);
  };

  const showFacts = (reading) => {
    const size = reading.width ? `${reading.width} × ${reading.height} pixels` : "";
    find("facts").textContent = [reading.file, size, reading.model].filter(Boolean).join(" · ");
  };

  const show = (name) => {
    const reading = received.get(name);
    find("detail").classList.remove("loading");
    report.layers.open(name, reading.pictures);
    showVerdict(reading);
    showProblems(reading);
    showProbabilities(reading);
    showEvidence(reading);
    showLesions(reading);
    showCamera(reading);
    showFacts(reading);
    report.stage.reset();
  };

  // Called by the script of a photograph.
  report.receive = (name, reading) => {
    received.set(name, reading);
    if (name === current) show(name);
  };

  const load = (name) => {
    const loader = document.createElement("script");
    loader.src = `photographs/${name}/reading.js`;
    loader.onload = () => loader.remove();
    loader.onerror = () => {
      loader.remove();
      const words = `${loader.getAttribute("src")} is missing from this report's folder.`;
      const none = { grade: null, referable: null, truth_grade: null, pictures: null };
      const empty = { lesions: {}, camera: {}, learned: [], present: [], evidence: [], grade_probabilities: [] };
      report.receive(name, { ...none, ...empty, state: "error", error: words });
    };
    document.head.append(loader);
  };

  const open = (row) => {
    current = row.dataset.name;
    find("detail").classList.add("loading"); // nothing of the last one may stand under this one's name
    const { place, count, previous, next } = report.list.around(row);
    find("title").textContent = row.querySelector(".id").textContent;
    find("position").textContent = `${place + 1} of ${count}`;
    for (const [id, other] of [["previous", previous], ["next", next]]) {
      find(id).disabled = !other;
      find(id).dataset.to = other ? other.dataset.name : "";
    }
    find("panel").scrollTop = 0;
    if (received.has(current)) show(current);
    else load(current);
  };

  for (const id of ["previous", "next"]) {
    find(id).addEventListener("click", () => report.go(find(id).dataset.to));
  }

  return { open, close: () => (current = null) };
})();
