// One photograph: loads its reading and says in words and numbers what is in it.
"use strict";

report.detail = (() => {
  const find = (id) => document.getElementById(id);
  const received = new Map();
  let current = null;

  const percent = (share) => {
    if (share > 0 && share < 0.001) return "< 0.1 %";
    if (share < 1 && share > 0.999) return "> 99.9 %";
    return `${(share * 100).toFixed(share >= 0.1 && share <= 0.99 ? 0 : 1)} %`;
  };

  const areas = (sum) => (sum < 0.001 ? "< 0.001" : Number(sum.toPrecision(2)));

  const element = (kind, text, style = "") => {
    const made = document.createElement(kind);
    made.textContent = text;
    made.className = style;
    return made;
  };

  const showVerdict = (reading) => {
    const { text, name, style } = reading.headline;
    find("grade").textContent = text;
    find("grade").className = `dr ${style}`;
    find("grade-name").textContent = name;
    const told = ["error", "retake", "ungraded"].includes(style); // the headline is the outcome
    const chips = told ? [] : reading.outcomes;
    find("outcome").replaceChildren(
      ...chips.map((outcome) => element("span", outcome, `chip ${outcome.replaceAll(" ", "-")}`)),
      element("span", style === "retake" ? "" : reading.outcome_reason, "text"), // why stands in a list
    );
    const near = reading.evidence.some((said) => said.role === "macula");
    const look = "; exudates near the fovea ask for a look";
    find("oedema").textContent = `Macular oedema is not judged${near ? look : ""}.`;
    showOdds(reading);
  };

  const showOdds = ({ cuts, referable_probability: probability }) => {
    find("odds").hidden = !cuts;
    if (!cuts) return;
    const [low, high] = cuts;
    const scale = find("odds").querySelector(".scale");
    scale.style.cssText = `--low: ${low}; --high: ${high}; --at: ${probability}`;
    const between = low < high ? ", between them uncertain" : "";
    find("odds-told").textContent =
      `Probability of DR2 or worse, or macular oedema at risk: ${percent(probability)}. ` +
      `No referral below ${percent(low)}, refer from ${percent(high)}${between}.`;
  };

  const showRule = (reading) => {
    find("rule").hidden = !reading.rule.length;
    find("rule").querySelector("ul").replaceChildren(...reading.rule.map((told) => element("li", told, "text")));
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
    const { layers = [], possible = [] } = reading.pictures || {};
    const lights = said.lesions.filter((code) => layers.includes(code) || possible.includes(code));
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
    find("evidence").hidden = !reading.evidence.length;
    const agreement = find("agreement");
    agreement.hidden = reading.agreement === "not graded";
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
    const read = !reading.error && !reading.outcomes.includes("retake");
    const found = Object.keys(reading.lesions).length || Object.keys(reading.camera).length;
    find("lesions").hidden = !pictures || !(read || found || pictures.annotated.length);
    const unlearned = [];
    for (const row of document.querySelectorAll(".layers [data-lesion]")) {
      const code = row.dataset.lesion;
      const learned = reading.learned.includes(code);
      const lesion = reading.lesions[code];
      const marked = pictures?.truth.includes(code);
      const asked = pictures?.annotated.includes(code);
      const amount = row.querySelector(".amount");
      const none = learned ? (read ? "none" : "–") : "not learned";
      const sized = lesion?.disc_areas > 0 ? ` · ${areas(lesion.disc_areas)}` : "";
      amount.textContent = lesion?.count ? `${lesion.count}${sized}` : none;
      amount.title = lesion?.count ? `${lesion.pixels} pixels, ${percent(lesion.share)} of the field` : "";
      row.querySelector("td.possible").textContent = lesion?.possible || "";
      row.querySelector(".truth .quiet").textContent = marked ? "" : asked ? "none" : "–";
      row.classList.toggle("absent", !lesion?.count);
      row.hidden = !learned && !asked;
      if (!learned) unlearned.push(row.querySelector("label span").textContent);
    }
    find("possible").hidden = !pictures?.possible.length;
    find("marks").hidden = !pictures || !Object.keys(reading.marks).length;
    find("unlearned").textContent = unlearned.length ? `Not learned by this model: ${unlearned.join(", ")}.` : "";
  };

  const showProblems = (reading) => {
    find("error").hidden = !reading.error;
    find("error").querySelector("p").textContent = reading.error;
    find("quality").hidden = !reading.reasons.length;
    find("quality").querySelector("ul").replaceChildren(...reading.reasons.map((reason) => element("li", reason)));
    const unseen = find("unseen");
    unseen.hidden = Boolean(reading.pictures);
    unseen.textContent = reading.error ? "This photograph could not be read." : "No picture of it in this report.";
    find("stage").classList.toggle("empty", !reading.pictures);
  };

  const show = (name) => {
    const reading = received.get(name);
    find("detail").classList.remove("loading");
    report.layers.open(name, reading.pictures, reading.marks);
    showVerdict(reading);
    showProblems(reading);
    showProbabilities(reading);
    showEvidence(reading);
    showLesions(reading);
    showCamera(reading);
    showRule(reading);
    find("facts").textContent = reading.facts.join(" · ");
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
      const lists = { learned: [], evidence: [], grade_probabilities: [], outcomes: [], reasons: [], rule: [], facts: [] };
      const none = { headline: { text: "Missing", name: "", style: "error" }, truth_grade: null, cuts: null };
      report.receive(name, { ...none, ...lists, lesions: {}, camera: {}, marks: {}, pictures: null, error: words });
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
