"""Your own sentences: a list in, a trained encoder out, and what became of every sentence.

    python examples/own_sentences.py

Nothing is downloaded: the bundled language model writes and judges, the bundled encoder is trained. The run folder,
runs/support, has the report; the same script again goes on where it stopped.
"""

import multicsr

SENTENCES = [
    "My card was charged twice for one order.",
    "The app closes as soon as I open the camera.",
    "I would like to change the address of my delivery.",
    "The parcel arrived, but the box was empty.",
    "How do I reset the password of my account?",
    "The invoice shows the wrong company name.",
    "Your courier left the parcel in the rain.",
    "I cannot find the button to cancel my subscription.",
    "The blue jacket that I ordered is too small.",
    "Nobody has answered my three emails.",
]


def main() -> None:
    # A handful of sentences is little to train on; looser thresholds than the defaults keep enough of them.
    run = multicsr.run(
        SENTENCES,
        "runs/support",
        filters={"curation": {"alpha": 1.5, "gamma": 0.0}},
        train={"batch_size": 4},
    )
    print(run)
    for triplet in run.triplets()[:3]:
        print(f"\n  sentence     {triplet.anchor}")
        print(f"  paraphrase   {triplet.positive}   (a = {triplet.similarity_positive:.1f})")
        print(f"  contradicts  {triplet.negative}   (b = {triplet.similarity_negative:.1f})")
    print("\nwhy others were not accepted:")
    for end in run.counts.reasons:
        print(f"  {end.sentences} by {end.filter}: {end.reason}")
    model = run.model()
    vectors = model.encode([SENTENCES[0], "I paid two times.", "The jacket does not fit."], normalize_embeddings=True)
    print(f"\n“{SENTENCES[0]}” has a cosine of")
    print(f"  {vectors[0] @ vectors[1]:.2f} with “I paid two times.”")
    print(f"  {vectors[0] @ vectors[2]:.2f} with “The jacket does not fit.”")
    print(f"report: {run.report}")


if __name__ == "__main__":
    main()
