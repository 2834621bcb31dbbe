// Before the first paint, and therefore no module: what was chosen here before, or else what the system says.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage, no memory: the system decides.
}
