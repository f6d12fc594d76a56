"""Model families: component names, placeholders, visual-token arithmetic."""
