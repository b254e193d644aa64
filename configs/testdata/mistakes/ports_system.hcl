media { ports = "80-8000" }
