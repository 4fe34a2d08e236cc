"""The engine: hears a row arrive, claims it, drives its phases, writes the outcome back."""
