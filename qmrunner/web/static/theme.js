// Before the first paint: the chosen theme. Without a choice the theme of the system applies.
try {
  const theme = localStorage.getItem("qmrunner-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's theme applies */ }
document.documentElement.classList.add("js");
