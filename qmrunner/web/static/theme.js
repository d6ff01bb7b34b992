// Before the first paint: the theme somebody has chosen. Without a choice the system's applies.
try {
  const theme = localStorage.getItem("qmrunner-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's theme applies */ }
document.documentElement.classList.add("js");
