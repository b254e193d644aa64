media { ports = "20000-20002" }
