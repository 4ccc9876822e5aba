// The figures of the page, drawn from the report's JSON document with what `parts.js` and `treemap.js` hold.

// ------------------------------------------------------------------------------------------------ first screen

const sum = (name) => D.disks.reduce((total, disk) => total + disk[name], 0);
const cutName = (cut) => (cut.age ? `${day(cut.before_ns)} (${cut.age})` : "now: all go");

function first() {
  const cut = D.cuts[state.at], used = sum("inodes_used"), disk = sum("used");
  $("n-sessions").textContent = number(cut.sessions);
  $("by-sessions").textContent = `${share(cut.sessions, D.scanned.sessions)} of ${counted(D.scanned.sessions, "session")}`;
  $("n-inodes").textContent = number(cut.inodes_freed);
  $("by-inodes").textContent = sum("inodes")
    ? `${share(cut.inodes_freed, used)} of ${number(used)} used; ${share(used, sum("inodes"))} of the filesystem is used, then ${share(used - cut.inodes_freed, sum("inodes"))}`
    : "the filesystem has no fixed number of inodes";
  if (cut.bytes_freed) {
    const [low, likely, high] = cut.bytes_freed;
    $("n-bytes").textContent = bytes(likely);
    $("by-bytes").textContent = `95 %: ${bytes(low)} to ${bytes(high)}; ${share(likely, disk)} of ${bytes(disk)} used`;
  } else {
    $("n-bytes").textContent = "unknown";
    $("by-bytes").textContent = `no sample; ${bytes(cut.allocated)} before compression`;
  }
  $("n-time").textContent = D.rate.basis === "none" ? "unknown" : span(cut.seconds);
  $("by-time").textContent = {
    "last run": `at the rate of the last run, ${number(D.rate.archives)} archives`,
    sample: `to read and compress with ${counted(D.rate.jobs, "worker")}, by the sample; writing, proving and removing not counted`,
    none: "no sample and no run before",
  }[D.rate.basis];
  $("verdict").textContent = `${counted(cut.sessions, "session")} of ${number(D.scanned.sessions)} would go, and `
    + `${D.matters.length ? counted(D.matters.length, "matter needs", "matters need") : "nothing needs"} a person.`;
  $("cut-text").textContent = cutName(cut);
  $("cut").value = state.at;
  $("cut").setAttribute("aria-valuetext", cutName(cut));
  $("plan").textContent = D.commands.archive + cut.option;
  $("apply").textContent = `${D.commands.archive}${cut.option} --execute`;
}

function once() {
  const roots = D.roots.map(shown).join(", ");
  $("about").textContent = `${roots} · ${new Date(D.now_ns / 1e6).toISOString().slice(0, 16).replace("T", " ")} UTC · `
    + `scanned in ${span(D.scan_seconds)} · runark ${D.version}, ${D.engine}`;
  $("matters").replaceChildren(...D.matters.map((matter) => html("li", {}, matter.what)));
  $("undo").textContent = D.commands.undo;
  $("undo-one").textContent = D.commands.undo_one;
  $("cut").max = D.cuts.length - 1;
}

// ------------------------------------------------------------------------------------------------ by age

const PAD = 8; // half of the slider's thumb
let place = (at) => at, scale = { width: 0 };

function ages() {
  const box = $("age-chart"), width = Math.max(box.clientWidth, 200), height = 180, last = Math.max(D.cuts.length - 1, 1);
  const step = (width - 2 * PAD) / last, field = state.unit === "inodes" ? 2 : 3;
  place = (at) => PAD + at * step;
  scale = { width, step, last };
  const heights = new Array(D.cuts.length).fill(0), bars = [];
  for (const cells of Object.values(D.ages)) for (const one of cells) heights[one[0]] += one[field];
  const most = Math.max(1, ...heights), filled = new Array(D.cuts.length).fill(0);
  for (const [name, cells] of Object.entries(D.ages)) {
    for (const one of cells) {
      const tall = (one[field] / most) * (height - 16);
      filled[one[0]] += tall;
      bars.push(svg("rect", { class: `f-${name}`, x: place(one[0]), y: height - filled[one[0]],
        width: Math.max(one[0] === last ? PAD : step - (step > 3 ? 1 : 0), 0.5), height: tall }));
    }
  }
  const veil = svg("rect", { id: "stays", class: "stays", x: 0, y: 0, height });
  const line = svg("line", { id: "cut-line", class: "line", y1: 0, y2: height });
  const label = svg("text", { x: width - PAD, y: 11, "text-anchor": "end" }, `tallest bar: ${amount(most)}`);
  box.replaceChildren(drawing(width, height, `${state.unit} by age`, ...bars, veil, line, label));
  $("age-ticks").replaceChildren(...ticks(width));
  $("age-key").replaceChildren(...Object.entries(CLASSES).filter(([name]) => D.ages[name].length).map(([name, text]) => {
    const total = D.ages[name].reduce((all, one) => all + one[field], 0);
    return html("li", { "data-class": name }, html("i", { class: `b-${name}` }), `${text}: ${amount(total)}`);
  }));
  moveLine();
}

function ticks(width) {
  const found = [];
  let free = -Infinity;
  const marks = [["now", null], ...["1d", "7d", "30d", "90d", "181d", "363d", "727d", "1090d", "1810d", "3640d"].map((age) => [
    { "181d": "6 mo", "363d": "1 y", "727d": "2 y", "1090d": "3 y", "1810d": "5 y", "3640d": "10 y" }[age] || age, age])];
  for (const [text, age] of marks) {
    const at = age === null ? 0 : D.cuts.findIndex((cut) => cut.age === age);
    const x = at < 0 ? width : place(at);
    if (x < free + 44 || x > width - 14) continue;
    free = x;
    const mark = html("span", {}, text);
    mark.style.left = `${Math.max(x, 16)}px`;
    found.push(mark);
  }
  return found;
}

function moveLine() {
  const x = place(state.at), line = $("cut-line");
  $("stays").setAttribute("width", x);
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
}

function cutAt(index) {
  state.at = Math.min(Math.max(index, 0), D.cuts.length - 1);
  first();
  moveLine();
  groups("owners", "owner");
  groups("scripts", "script");
  skips();
}

function draggable() {
  const box = $("age-chart"), move = (event) => {
    if (event.buttons & 1) cutAt(Math.round((event.clientX - box.getBoundingClientRect().left - PAD) / scale.step));
  };
  box.addEventListener("pointerdown", (event) => { box.setPointerCapture(event.pointerId); move(event); event.preventDefault(); });
  box.addEventListener("pointermove", move);
  $("cut").addEventListener("input", () => cutAt(Number($("cut").value)));
}

// ------------------------------------------------------------------------------------------------ before and after

function after(group) { // what is left at the cut-off, archives included
  let left = state.unit === "inodes" ? group.inodes : group.allocated;
  const ratio = D.sample ? D.sample.ratio.likely : 0;
  for (const [at, , archives, inodes, allocated, stream] of group.reached)
    if (at >= state.at) left -= state.unit === "inodes" ? inodes - archives : allocated - ratio * stream;
  return Math.round(left);
}

function groups(section, what) {
  const size = (group) => (state.unit === "inodes" ? group.inodes : group.allocated), single = (group) => group.members === 1;
  const most = Math.max(1, ...D[section].filter(single).map(size)); // a bar for the rest would dwarf all others
  const rows = D[section].map((group) => {
    const before = size(group), left = after(group);
    const bars = svg("svg", { viewBox: "0 0 1000 18", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "f-before", x: 0, y: 0, height: 18, width: (1000 * before) / most }),
      svg("rect", { class: "f-after", x: 0, y: 4, height: 10, width: (1000 * Math.max(left, 0)) / most }));
    return [grouped(group), number(group.sessions), amount(before), amount(left), single(group) ? bars : ""];
  });
  into(section, table([[what, "name"], ["sessions", "n"], [`${state.unit} now`, "n"], ["after", "n"], ["", "bar"]], rows));
}

// ------------------------------------------------------------------------------------------------ sizes, calendar

function histogram(id, name, title, text) {
  const counts = D.sizes[name], from = Math.max(counts.findIndex((count) => count > 0), 0), bars = counts.slice(from);
  const width = Math.max($(id).clientWidth, 160), height = 150, most = Math.max(1, ...bars), step = (width - 2) / Math.max(bars.length, 1);
  const parts = bars.map((count, i) => {
    const low = i + from ? 2 ** (i + from - 1) : 0, high = 2 ** (i + from) - 1;
    const tall = (count / most) * (height - 40);
    return svg("rect", { class: "f-after", x: 1 + i * step, y: height - 20 - tall, width: Math.max(step - 1, 0.5), height: tall },
      svg("title", {}, `${text(low)} to ${text(high)}: ${counted(count, "session")}`));
  });
  const every = Math.ceil(52 / step);
  bars.forEach((_, i) => { if (i % every === 0) parts.push(svg("text", { x: 1 + i * step, y: height - 5 }, text(i + from ? 2 ** (i + from - 1) : 0))); });
  parts.push(svg("text", { x: width - 2, y: 11, "text-anchor": "end" }, `tallest bar: ${counted(most, "session")}`));
  $(id).replaceChildren(html("figcaption", {}, title), drawing(width, height, title, ...parts));
}

function calendar() {
  const { days, grown, full, window: window_, undated } = D.calendar, years = new Map();
  for (const [date, sessions] of days) {
    const year = date.slice(0, 4);
    if (!years.has(year)) years.set(year, new Map());
    years.get(year).set(date, sessions);
  }
  const counts = days.map((one) => one[1]).sort((a, b) => a - b), drawn = [...years].reverse().slice(0, 3);
  const level = (count) => 1 + [0.25, 0.5, 0.75].filter((part) => count > counts[Math.floor(part * (counts.length - 1))]).length;
  const told = full.map((one) => `${one.what} are used up on ${one.day}`).join(", ");
  $("full").textContent = `${counted(grown.sessions, "session")} in the last ${window_} days that are still here, with ${counted(grown.inodes, "inode")} and ${bytes(grown.allocated)}. `
    + (told ? `If it goes on like that and nothing is archived, ${told}.` : "At that rate the filesystem does not fill up.")
    + (undated ? ` ${counted(undated, "session")} without a date in the name stand at their newest change.` : "")
    + (years.size > 3 ? " The latest three years are drawn." : "");
  into("calendar", html("div", { class: "years" }, ...drawn.map(([year, found]) => yearOf(Number(year), found, level))));
}

function yearOf(year, found, level) {
  const begin = new Date(Date.UTC(2000, 0, 1)), parts = [];
  begin.setUTCFullYear(year);
  const shift = (begin.getUTCDay() + 6) % 7; // weeks begin on Monday
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  for (let one = new Date(begin), n = 0; one.getUTCFullYear() === year; one.setUTCDate(one.getUTCDate() + 1), n += 1) {
    const date = `${String(year).padStart(4, "0")}-${String(one.getUTCMonth() + 1).padStart(2, "0")}-${String(one.getUTCDate()).padStart(2, "0")}`;
    const count = found.get(date) || 0, week = Math.floor((n + shift) / 7);
    if (one.getUTCDate() === 1) parts.push(svg("text", { x: 34 + week * 12, y: 10 }, months[one.getUTCMonth()]));
    parts.push(svg("rect", { class: `day${count ? level(count) : 0}`, x: 34 + week * 12, y: 14 + ((n + shift) % 7) * 12, width: 11, height: 11, rx: 2 },
      svg("title", {}, `${date}: ${counted(count, "session")}`)));
  }
  const total = [...found.values()].reduce((all, count) => all + count, 0);
  return drawing(34 + 54 * 12, 102, `${year}: ${counted(total, "session")}`, svg("text", { x: 0, y: 58 }, String(year)), ...parts);
}

// ------------------------------------------------------------------------------------------------ tables

const FIELDS = [["session", "name", (row) => below(row.path)], ["inodes", "n", (row) => number(row.inodes)], ["on disk", "n", (row) => bytes(row.allocated)],
  ["unchanged for", "n", (row) => `${number(Math.max(0, Math.floor((D.now_ns - row.newest_ns) / DAY_NS)))} d`],
  ["status", "", (row) => row.status]];
const SORTS = [(a, b) => (shown(a.path) < shown(b.path) ? -1 : 1), (a, b) => a.inodes - b.inodes, (a, b) => a.allocated - b.allocated, (a, b) => b.newest_ns - a.newest_ns,
  (a, b) => (a.status < b.status ? -1 : a.status > b.status ? 1 : 0)];

function top_(column, down) {
  const rows = [...D.top].sort((a, b) => (down ? -1 : 1) * SORTS[column](a, b)).slice(0, 25);
  const found = table(FIELDS.map(([text, kind]) => [text, kind]), rows.map((row) => FIELDS.map((field) => field[2](row))));
  [...found.tHead.rows[0].cells].forEach((head, i) => {
    const button = html("button", { type: "button" }, head.textContent);
    button.addEventListener("click", () => {
      top_(i, i === column ? !down : i > 0 && i < 4);
      document.querySelectorAll("#top th button")[i].focus();
    });
    head.setAttribute("aria-sort", i === column ? (down ? "descending" : "ascending") : "none");
    head.replaceChildren(button);
  });
  into("top", found);
}

function skips() {
  const cut = D.cuts[state.at], all = D.scanned.sessions, left = { ...D.skipped };
  left.young = (left.young || 0) + D.scanned.eligible - cut.sessions;
  const rows = [["would go", cut.sessions]];
  for (const [reason, count] of Object.entries(left)) if (count) rows.push([`left alone: ${D.reasons[reason] || reason}`, count]);
  const total = rows.reduce((sum_, row) => sum_ + row[1], 0);
  into("skips", table([["sessions", "name"], ["", "n"], ["of all", "n"]],
    rows.map(([text, count]) => [text, number(count), share(count, all)]), ["scanned", number(total), share(total, all)]));
}

function lists() {
  const ghosts = D.ghosts.map((one) => [below(one.path), shown(one.reason), one.target === null ? "left alone" : below(one.target)]);
  into("ghosts", ghosts.length ? table([["session", "name"], ["evidence", "name"], ["runark reconcile moves it to", "name"]], ghosts) : "None.");
  const faults = D.faults.map((one) => [one.op, shown(one.path), shown(one.message)]);
  into("errors", faults.length ? table([["operation", ""], ["path", "name"], ["why", ""]], faults) : "Everything was read.");
  const since = D.since && Object.entries(D.since.changes).filter(([, change]) => change);
  const sign = (key, change) => `${change > 0 ? "+" : "−"}${/size|allocated/.test(key) ? bytes(Math.abs(change)) : number(Math.abs(change))}`;
  into("since", !D.since ? "There was no report of these roots in the file that this one replaced." : since.length
    ? table([[`since ${new Date(D.since.now_ns / 1e6).toISOString().slice(0, 16).replace("T", " ")} UTC`, "name"], ["", "n"]],
      since.map(([key, change]) => [key.replace("_", ", "), sign(key, change)]))
    : "Nothing has changed.");
  const { sample, rate } = D, notes = [];
  if (sample) notes.push(`Bytes freed: what the sessions take on disk, less what their archives will take. For that ${counted(sample.sessions, "session")} `
    + `drawn at random, ${bytes(sample.read)}, were really compressed with zlib at level 1; archives took ${(100 * sample.ratio.likely).toFixed(1)} % `
    + `(95 %: ${(100 * sample.ratio.low).toFixed(1)} to ${(100 * sample.ratio.high).toFixed(1)}) of the tar streams. It is taken to hold at every cut-off.`);
  if (rate.basis === "sample") notes.push("Time: what one worker took to read and compress the sample, divided by the workers. Writing, proving and removing come on top.");
  if (rate.basis === "last run") notes.push(`Time: the newest ${number(rate.archives)} archives here were written one after the other without a pause; sessions, at that rate.`);
  notes.push("Filesystem: as statvfs tells it. Quotas of users and groups are not asked.");
  notes.push("Script: the nearest directory above a session that is not RUNNING or FINISHED*.");
  document.querySelector("#how ul").replaceChildren(...notes.map((text) => html("li", {}, text)));
}

// ------------------------------------------------------------------------------------------------ all of it

function sized() { // what depends on the width
  ages();
  treemap();
  histogram("size-inodes", "inodes", "inodes in a session, doubling", number);
  histogram("size-bytes", "size", "bytes in a session, doubling", bytes);
}

function unitIs(unit) {
  state.unit = unit;
  for (const one of document.querySelectorAll("input[name=unit], input[name=area]")) one.checked = one.value === unit;
  ages();
  treemap();
  groups("owners", "owner");
  groups("scripts", "script");
}

once();
sized();
cutAt(state.at);
calendar();
top_(1, true);
lists();
draggable();
for (const one of document.querySelectorAll("input[name=unit], input[name=area]")) one.addEventListener("change", () => unitIs(one.value));
let width = window.innerWidth;
window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; sized(); } });
