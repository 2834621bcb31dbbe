/** Figures as people read them: three digits that matter, a unit, and a dash for what is not known. Pure. */

export const UNKNOWN = "–";

/** @typedef {number | null | undefined} Figure */

/** @param {Figure} value */
const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

/** @param {Figure} value */
export function count(value) {
  return isKnown(value) ? Math.round(Number(value)).toLocaleString("en") : UNKNOWN;
}

/** Powers of 1000, as network tools count. @param {Figure} value */
export function bytes(value) {
  if (!isKnown(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let [amount, unit] = [Math.max(0, Number(value)), 0];
  while (amount >= 999.5 && unit < units.length - 1) [amount, unit] = [amount / 1000, unit + 1];
  return `${unit === 0 ? Math.round(amount) : amount.toFixed(amount >= 99.95 ? 0 : amount >= 9.995 ? 1 : 2)} ${units[unit]}`;
}

/** @param {Figure} perSecond */
export function rate(perSecond) {
  return isKnown(perSecond) ? `${bytes(perSecond)}/s` : UNKNOWN;
}

/** @param {Figure} value in milliseconds */
export function latency(value) {
  if (!isKnown(value)) return UNKNOWN;
  const ms = Math.max(0, Number(value));
  return ms < 999.5 ? `${digits(ms)} ms` : `${digits(ms / 1000)} s`;
}

/** The largest unit and, where it matters, the next: `12 s`, `3 min`, `4 h 5 min`, `2 d 3 h`. @param {Figure} seconds */
export function duration(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.floor(Number(seconds)));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return hours % 24 === 0 ? `${hours / 24} d` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** @param {Figure} seconds */
export function ago(seconds) {
  return isKnown(seconds) ? (Number(seconds) < 1 ? "just now" : `${duration(seconds)} ago`) : UNKNOWN;
}

/** `14:03:22` today, `Nov 20, 14:03:22` before. @param {number} atMs @param {number} nowMs */
export function clock(atMs, nowMs) {
  if (!Number.isFinite(atMs)) return UNKNOWN;
  const [at, now] = [new Date(atMs), new Date(nowMs)];
  const time = at.toLocaleTimeString("en", { hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  if (at.toDateString() === now.toDateString()) return time;
  return `${at.toLocaleDateString("en", { month: "short", day: "numeric" })}, ${time}`;
}

/** `1 node`, `2 nodes`. @param {number} amount @param {string} noun */
export function counted(amount, noun) {
  return `${count(amount)} ${noun}${amount === 1 ? "" : "s"}`;
}

/** @param {string} address */
export function shortAddress(address) {
  return /^0x[0-9a-f]{40}$/i.test(address) ? `${address.slice(0, 6)}…${address.slice(-4)}` : address;
}

/** @param {number} amount below 1000 */
function digits(amount) {
  return String(Number(amount.toFixed(amount >= 9.95 ? 0 : amount >= 0.995 ? 1 : 2)));
}
