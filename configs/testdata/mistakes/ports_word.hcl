media { ports = "many" }
