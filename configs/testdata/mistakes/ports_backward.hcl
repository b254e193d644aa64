media { ports = "30000-20000" }
